from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from posewire import InvalidSettings
from posewire._inputs import boxes_array, capture_time, frame_number


def test_a_wrong_score_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="score"):
        boxes_array([[0, 0, 1, 1, 1.5]])


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([[0, 0, 1, 1], [0, 0, 1]], "rows of equal length"),
        ([["left", "top", "right", "bottom"]], "no array of numbers"),
        ([[0, 0, None, 1]], "not finite|no array of numbers"),
        (object(), "no array of numbers"),
        ([[0, 0, 10**400, 1]], "no array of numbers"),
        ([[0, 0, 1e40, 1]], "box 0 is not finite"),  # beyond 32 bits
    ],
)
def test_boxes_that_are_no_numbers_are_refused(boxes: Any, words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        boxes_array(boxes)


@pytest.mark.parametrize("number", [-1, 2**64, 2**70, 1.5, "7", None])
def test_a_frame_number_that_the_wire_cannot_carry_is_refused(number: Any) -> None:
    with pytest.raises(InvalidSettings, match=r"number is .*; give a whole number in 0\.\.18446744073709551615"):
        frame_number(number)


@pytest.mark.parametrize("time_s", [float("nan"), float("inf"), 1e12, "now", 1j])
def test_a_time_that_the_wire_cannot_carry_is_refused(time_s: Any) -> None:
    with pytest.raises(InvalidSettings, match=r"time is .*; give seconds in"):
        capture_time(time_s)


def test_numbers_and_times_of_numpy_are_taken() -> None:
    given: Any = np.int64(7), np.float32(0.5)
    number, time_s = frame_number(given[0]), capture_time(given[1])
    assert (number, time_s) == (7, 0.5)
    assert (type(number), type(time_s)) == (int, float)  # as protobuf wants them
    assert frame_number(2**64 - 1) == 2**64 - 1
