"""Runs variants of the tracker on recorded sequences, in parallel processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2

from posewire.usable_cores import usable_cores
from posewire_evaluation.ablation.cache import KnownPoses, NetworkCache
from posewire_evaluation.ablation.data_set import LabelledVideo
from posewire_evaluation.ablation.networks import Networks
from posewire_evaluation.ablation.recording import LoadedOnce, NetworkTime, RecordedVideo, keep_poses, record
from posewire_evaluation.ablation.replay import replay
from posewire_evaluation.ablation.scores import Scores, as_prediction, score
from posewire_evaluation.worker_processes import worker_processes
from posewire_server.tracking import Similarity, TrackerConfig

__all__ = ["TABLE_5", "Measured", "Variant", "in_parallel", "measure"]

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Variant:
    """A tracker to compare.

    Attributes:
        name: for tables.
        config: of the tracker.
    """

    name: str
    config: TrackerConfig


TABLE_5 = tuple(
    Variant(f"{similarity}, {'with' if propagation else 'no'} propagation", TrackerConfig(similarity, propagation))
    for propagation, similarities in (
        (False, (Similarity.BBOX, Similarity.POSE)),
        (True, (Similarity.BBOX, Similarity.POSE, Similarity.FLOW, Similarity.MULTI_FLOW)),
    )
    for similarity in similarities
)
"""Rows 1 to 6 of the paper's Table 5."""


@dataclass(frozen=True)
class Measured:
    """The result of a variant.

    Attributes:
        variant: the variant.
        scores: over all sequences.
        networks: how much the networks had to compute for it.
        tracking_s: time spent in the tracker, over all sequences.
    """

    variant: Variant
    scores: Scores
    networks: NetworkTime
    tracking_s: float


def measure(
    networks: Networks,
    sequences: Sequence[LabelledVideo],
    variants: Sequence[Variant],
    cache_dir: Path,
    *,
    workers: int,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Measured]:
    """Track and score all sequences with every variant.

    Detector and flow run once on each video. The last variant runs first and alone: the networks then have the machine
    to themselves, and the other variants find nearly all of their poses in the cache. For Table 5 this is the variant
    with the most boxes.

    Args:
        networks: the networks to use.
        sequences: videos with their truth.
        variants: the trackers to compare.
        cache_dir: of `NetworkCache`.
        workers: number of processes; 0: everything runs in this one.
        progress: called with the number of sequences and variants done so far, of `len(sequences) + len(variants)`.

    Raises:
        EvaluationError: a video or a file of the cache cannot be used, or truth and video do not match.
    """
    loaded, cache = LoadedOnce(networks), NetworkCache(cache_dir)
    recorded = NetworkTime()
    for count, sequence in enumerate(sequences):
        recorded.add(record(sequence.video, loaded, cache))
        progress(count + 1)
    first = _track(variants[-1], loaded, sequences, cache, keep=True)
    progress(len(sequences) + 1)

    measured = []
    run = partial(_track_in_process, networks, sequences, cache_dir)
    with in_parallel(run, workers) as each:
        for count, outcome in enumerate(each(variants[:-1])):
            for sequence, known in zip(sequences, outcome.new_poses, strict=True):
                keep_poses(sequence.video, networks, cache, known)
            measured.append(outcome.measured)
            progress(len(sequences) + 2 + count)
    first.measured.networks.add(recorded)
    return [*measured, first.measured]


@contextmanager
def in_parallel(work: Callable[[Task], Result], workers: int) -> Iterator[Callable[[Sequence[Task]], Iterator[Result]]]:
    """A `map` of `work` over worker processes that live as long as the block; 0 workers: in this process."""
    if workers == 0:
        yield lambda tasks: map(work, tasks)
        return
    with worker_processes(workers, partial(_one_thread_each, workers)) as mapped:
        yield lambda tasks: mapped(work, tasks)


def _one_thread_each(workers: int) -> None:
    """Share the cores between the processes."""
    import torch

    threads = max(1, usable_cores() // workers)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


@dataclass(frozen=True, eq=False)
class _Outcome:
    """A variant's result, and the newly estimated poses, by sequence."""

    measured: Measured
    new_poses: list[KnownPoses]


def _track_in_process(
    networks: Networks, sequences: Sequence[LabelledVideo], cache_dir: Path, variant: Variant
) -> _Outcome:
    return _track(variant, LoadedOnce(networks), sequences, NetworkCache(cache_dir))


def _track(
    variant: Variant,
    networks: LoadedOnce,
    sequences: Sequence[LabelledVideo],
    cache: NetworkCache,
    *,
    keep: bool = False,
) -> _Outcome:
    pairs, new_poses, spent, tracking_s = [], [], NetworkTime(), 0.0
    for sequence in sequences:
        outputs = RecordedVideo(sequence.video, networks, cache)
        start = time.perf_counter()
        tracked = replay(outputs, variant.config)
        tracking_s += time.perf_counter() - start - outputs.waited_s
        spent.add(outputs.spent)
        new_poses.append(outputs.new_poses)
        if keep:
            keep_poses(sequence.video, networks.choice, cache, outputs.new_poses)
        prediction = as_prediction(
            sequence.truth,
            tracked,
            outputs.joint_set,
            joint_score_threshold=variant.config.joint_score_threshold,
            numbers=[sequence.found.number(index) for index in range(len(tracked))],
        )
        pairs.append((sequence.truth, prediction))
    return _Outcome(Measured(variant, score(pairs), spent, tracking_s), new_poses)
