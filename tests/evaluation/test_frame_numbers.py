from __future__ import annotations

import pytest

from posewire_evaluation.frame_numbers import frame_numbers, shared_first_number


@pytest.mark.parametrize(
    ("stems", "numbers"),
    [
        (["000007", "000010"], [7, 10]),
        (["000007_crop2", "000010_crop2"], [7, 10]),
        (["cam2_007", "cam2_010"], [7, 10]),
        (["frame7", "10"], [7, 10]),
        (["2024_000000", "2024_000001"], [0, 1]),  # a year, which tells nothing
        (["2024_000005"], [2024]),  # nothing to compare it with
        (["000007_crop2"], [7]),
        (["a", "7"], [None, 7]),
        (["a", "b"], [None, None]),
        ([], []),
    ],
)
def test_the_number_is_the_one_that_tells_frames_apart(stems: list[str], numbers: list[int | None]) -> None:
    assert frame_numbers(stems) == numbers


def test_a_number_that_all_names_begin_with_is_known() -> None:
    assert shared_first_number(["2024_000000", "2024_000001"]) == 2024
    assert shared_first_number(["2024_000000"]) is None
    assert shared_first_number(["1_000000", "2_000000"]) is None
    assert shared_first_number(["a", "b"]) is None
