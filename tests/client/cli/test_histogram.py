"""Percentiles are accurate to 1 % for any times."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posewire.cli.histogram import Histogram


def filled(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(st.lists(st.floats(0.001, 1e9), min_size=1, max_size=50), st.floats(0, 100))
def test_percentiles_are_those_of_numpy_to_1_per_cent(values: list[float], percent: float) -> None:
    wanted = np.percentile(values, percent)
    assert filled(values).percentile(percent) == pytest.approx(wanted, rel=0.0101)


@pytest.mark.parametrize(
    ("values", "median"),
    [
        ([], math.nan),
        ([math.nan], math.nan),  # a frame that was never sent
        ([math.nan, 5.0], 5.0),
        ([0.0, -1.0], 0.001),  # the least time
        ([math.inf], 1e9),
    ],
)
def test_odd_values(values: list[float], median: float) -> None:
    assert filled(values).percentile(50) == pytest.approx(median, rel=0.01, nan_ok=True)
