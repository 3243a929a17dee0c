"""The trackers compared on the benchmark sets: all variants of posewire, and the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from posewire_evaluation.ablation.replay import replay
from posewire_evaluation.ablation.scores import Scores, as_prediction, score
from posewire_evaluation.benchmark_sets.baselines import BASELINES
from posewire_evaluation.benchmark_sets.faults import FAULTS
from posewire_evaluation.benchmark_sets.outputs import FaultyOutputs
from posewire_evaluation.benchmark_sets.scenes import FlowKind, draw, scene_configs
from posewire_evaluation.sequences import PoseSequence
from posewire_server.tracking import Similarity, TrackedPeople, TrackerConfig

__all__ = ["ALL_TRACKERS", "SetSize", "Task", "Tracking", "run_task"]

_JOINT_SCORE_THRESHOLD = TrackerConfig().joint_score_threshold


@dataclass(frozen=True)
class Tracking:
    """A tracker to compare: posewire with these settings, or a baseline.

    Attributes:
        name: for tables.
        config: of posewire's tracker; None: the baseline called `name`.
    """

    name: str
    config: TrackerConfig | None = None

    def run(self, outputs: FaultyOutputs, fps: float, height: int) -> list[TrackedPeople]:
        """The people of each frame."""
        if self.config is None:
            return BASELINES[self.name](outputs, fps, height)
        return replay(outputs, self.config)


ALL_TRACKERS = (
    *(
        Tracking(f"{similarity}{' + propagation' if propagation else ''}", TrackerConfig(similarity, propagation))
        for propagation in (False, True)
        for similarity in Similarity
    ),
    *(Tracking(name) for name in BASELINES),
)
"""Every similarity without and with propagation, then the baselines."""


@dataclass(frozen=True)
class SetSize:
    """How much of each set is drawn.

    Attributes:
        scenes: number of scenes per set.
        frames: number of frames per scene, at the full frame rate.
        cache_dir: where synthetic scenes are kept.
    """

    scenes: int
    frames: int
    cache_dir: Path


@dataclass(frozen=True)
class Task:
    """One set with one fault, for several trackers.

    Attributes:
        set_name: one of `scenes.SETS`.
        fault: one of `FAULTS`.
        flow: where the flow comes from.
        trackers: to compare.
    """

    set_name: str
    fault: str
    flow: FlowKind
    trackers: Sequence[Tracking]


def run_task(size: SetSize, task: Task) -> list[Scores]:
    """The scores of each tracker over all scenes of the set.

    Raises:
        EvaluationError: a baseline is not installed, or a file of the cache is damaged.
    """
    faults = FAULTS[task.fault]
    configs = scene_configs(task.set_name, scenes=size.scenes, frames=size.frames, rate_divisor=faults.rate_divisor)
    pairs: list[list[tuple[PoseSequence, PoseSequence]]] = [[] for _ in task.trackers]
    for config in configs:
        scene = draw(config, size.cache_dir)
        truth, outputs = scene.truth(), FaultyOutputs(scene, faults, task.flow)
        for tracker, of_tracker in zip(task.trackers, pairs, strict=True):
            tracked = tracker.run(outputs, config.fps, config.height)
            prediction = as_prediction(truth, tracked, outputs.joint_set, joint_score_threshold=_JOINT_SCORE_THRESHOLD)
            of_tracker.append((truth, prediction))
    return [score(of_tracker) for of_tracker in pairs]
