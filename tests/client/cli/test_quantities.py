from __future__ import annotations

import pytest

from posewire.cli.quantities import quantity


@pytest.mark.parametrize(
    ("number", "noun", "plural", "text"),
    [
        (0, "frame", "", "0 frames"),
        (1, "frame", "", "1 frame"),
        (2, "frame", "", "2 frames"),
        (1, "person", "people", "1 person"),
        (2, "person", "people", "2 people"),
    ],
)
def test_nouns_agree_with_their_numbers(number: int, noun: str, plural: str, text: str) -> None:
    assert quantity(number, noun, plural) == text
