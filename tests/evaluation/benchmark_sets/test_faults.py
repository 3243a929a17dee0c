from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
import pytest

from posewire_evaluation.benchmark_sets.faults import FAULTS, Faults, missed_frames


@pytest.mark.parametrize(
    ("missed", "run", "divisor"),
    [
        (0.2, 4.0, 1),
        (0.5, 8.0, 1),
        (0.2, 6.0, 3),  # a third of the frames: the same reasons last a third as many
    ],
)
def test_misses_are_as_many_and_as_long_as_asked_for(missed: float, run: float, divisor: int) -> None:
    faults = Faults(missed=missed, missed_run_frames=run, rate_divisor=divisor)
    frames = missed_frames(faults, 40_000, np.random.default_rng(0))
    lengths = [len(list(group)) for lost, group in groupby(frames.tolist()) if lost]
    assert frames.mean() == pytest.approx(missed, abs=0.02)
    assert np.mean(lengths) == pytest.approx(run / divisor, rel=0.1)


def test_a_seed_repeats_the_misses() -> None:
    one, same, other = (missed_frames(FAULTS["missed"], 200, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.tolist() == same.tolist() != other.tolist()


def test_without_the_fault_nothing_is_missed() -> None:
    assert not missed_frames(Faults(), 50, np.random.default_rng(0)).any()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"missed": 1.0}, r"missed is 1.0; it must be in 0..0.9 of the detections"),
        ({"missed_run_frames": 0.5}, "missed_run_frames is 0.5"),
        ({"box_jitter": -0.1}, "box_jitter is -0.1"),
        ({"joint_jitter": float("nan")}, "joint_jitter is nan"),
        ({"phantoms": 21}, "phantoms is 21"),
        ({"rate_divisor": 0}, "rate_divisor is 0"),
    ],
)
def test_faults_out_of_range_are_refused(fault: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Faults(**fault)
