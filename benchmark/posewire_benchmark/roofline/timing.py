"""Measures how long calls take on a device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch

__all__ = ["best_s", "median_s", "times_s"]

_WARM_UP_CALLS = 3
_LEAST_CALLS = 3
_MOST_CALLS = 1000


def times_s(call: Callable[[], object], device: torch.device, budget_s: float) -> list[float]:
    """Seconds of single back-to-back calls, for about `budget_s`, after a few calls to warm up.

    On a GPU, CUDA events are recorded and read only at the end, so that nothing waits in between.
    """
    for _ in range(_WARM_UP_CALLS):
        call()
    if device.type == "cuda":
        with torch.cuda.device(device):  # otherwise the events would belong to the first GPU, which is idle
            return _times_on_gpu(call, device, budget_s)
    times: list[float] = []
    began_s = time.perf_counter()
    while len(times) < _LEAST_CALLS or (time.perf_counter() - began_s < budget_s and len(times) < _MOST_CALLS):
        start_s = time.perf_counter()
        call()
        times.append(time.perf_counter() - start_s)
    return times


def median_s(call: Callable[[], object], device: torch.device, budget_s: float) -> float:
    """Median seconds of a call."""
    return statistics.median(times_s(call, device, budget_s))


def best_s(call: Callable[[], object], device: torch.device, budget_s: float) -> float:
    """Seconds of the fastest call: without disturbance."""
    return min(times_s(call, device, budget_s))


def _times_on_gpu(call: Callable[[], object], device: torch.device, budget_s: float) -> list[float]:
    torch.cuda.synchronize(device)
    start_s = time.perf_counter()
    call()
    torch.cuda.synchronize(device)
    once_s = time.perf_counter() - start_s
    calls = max(_LEAST_CALLS, min(_MOST_CALLS, int(budget_s / max(once_s, 1e-6))))
    marks = [
        torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        for _ in range(calls + 1)
    ]
    marks[0].record()
    for mark in marks[1:]:
        call()
        mark.record()
    torch.cuda.synchronize(device)
    return [before.elapsed_time(after) / 1e3 for before, after in pairwise(marks)]
