"""Average precision, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posewire_evaluation.average_precision import average_precision


@pytest.mark.parametrize(
    ("scores", "correct", "annotated", "expected"),
    [
        ([0.9, 0.8], [1, 1], 2, 1.0),
        ([0.9, 0.8], [1, 1], 4, 0.5),  # half is never found
        ([0.9, 0.8, 0.7], [1, 0, 1], 2, 0.5 + 0.5 * 2 / 3),  # the mistake lowers what comes after it
        (
            [0.7, 0.8, 0.9],
            [1, 1, 0],
            2,
            2 / 3,
        ),  # a mistake with the best score lowers all; precision 1/2 is raised to 2/3
        ([0.7, 0.9, 0.8], [0, 1, 1], 2, 1.0),  # one with the worst score costs nothing
        ([0.5], [0], 3, 0.0),
        ([], [], 3, 0.0),
        ([], [], 0, 0.0),  # as in poseval
    ],
)
def test_by_hand(scores: list[float], correct: list[int], annotated: int, expected: float) -> None:
    found = average_precision(np.array(scores, np.float64), np.array(correct, np.bool_), annotated)
    assert found.average == pytest.approx(expected, abs=1e-12)
    if scores:
        assert found.precision == sum(correct) / len(correct)
        assert found.recall == sum(correct) / annotated


def test_of_equal_scores_the_last_comes_first_as_in_poseval() -> None:
    assert average_precision(np.array([0.5, 0.5]), np.array([True, False]), 1).average == 0.5


def test_never_annotated_is_no_value() -> None:
    found = average_precision(np.array([0.5]), np.array([False]), 0)
    assert math.isnan(found.average)
    assert math.isnan(found.recall)
    assert found.precision == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30, unique_by=lambda pair: pair[0]))
def test_the_order_of_predictions_does_not_matter(predictions: list[tuple[float, bool]]) -> None:
    annotated = 1 + sum(right for _, right in predictions)
    results = {
        average_precision(np.array([s for s, _ in each]), np.array([right for _, right in each]), annotated)
        for each in (predictions, predictions[::-1], sorted(predictions))
    }
    assert len(results) == 1
    assert 0 <= results.pop().average <= 1
