from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from posewire_models.training.people import Person, Picture, spread


@pytest.mark.parametrize(
    ("limit", "numbers"),
    [
        (4, [1, 2, 4, 5]),  # four of twelve people: every third
        (12, [1, 2, 3, 4, 5, 6]),
        (99, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_as_many_people_are_measured_as_asked_for_from_all_over(tmp_path: Path, limit: int, numbers: list[int]) -> None:
    someone = Person(np.zeros(4, np.float32), np.ones((1, 3), np.float32), 1.0)
    nobody = Person(np.zeros(4, np.float32), np.zeros((1, 3), np.float32), 1.0)
    pictures = [Picture(tmp_path, key, (someone, nobody, someone)) for key in range(1, 7)]
    chosen = spread(pictures, limit, joints_needed=1)
    assert [picture.key for picture in chosen] == numbers
    assert sum(one.labelled for picture in chosen for one in picture.people) == min(limit, 12)
