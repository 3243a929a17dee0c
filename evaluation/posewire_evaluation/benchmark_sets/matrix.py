"""Runs all sets, faults and trackers, several at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from posewire.synth import SceneConfig
from posewire_evaluation.ablation.scores import Scores
from posewire_evaluation.ablation.search import mean_scores
from posewire_evaluation.ablation.variants import in_parallel
from posewire_evaluation.benchmark_sets.faults import FAULTS
from posewire_evaluation.benchmark_sets.scenes import SETS, FlowKind, draw, scene_configs
from posewire_evaluation.benchmark_sets.trackers import SetSize, Task, Tracking, run_task
from posewire_server.tracking import TrackerConfig

__all__ = ["evaluate_on_sets", "run_tasks"]

_TUNED_ON = "all"


def run_tasks(
    size: SetSize, tasks: Sequence[Task], *, workers: int, progress: Callable[[int], None] = lambda _: None
) -> list[list[Scores]]:
    """The scores of each task's trackers.

    Args:
        size: of the sets.
        tasks: to run.
        workers: number of processes; 0: only this one.
        progress: called with the number of tasks done.

    Raises:
        EvaluationError: a baseline is not installed, or a file of the cache is damaged.
        OSError: the cache cannot be written.
    """
    wanted = dict.fromkeys(
        config
        for task in tasks
        for config in scene_configs(
            task.set_name, scenes=size.scenes, frames=size.frames, rate_divisor=FAULTS[task.fault].rate_divisor
        )
    )
    size.cache_dir.mkdir(parents=True, exist_ok=True)
    with in_parallel(partial(_draw, size), workers) as draw_each:
        list(draw_each(list(wanted)))  # first, so that no two tasks draw the same scene
    results = []
    with in_parallel(partial(run_task, size), workers) as run_each:
        for done, scores in enumerate(run_each(tasks), start=1):
            results.append(scores)
            progress(done)
    return results


def _draw(size: SetSize, config: SceneConfig) -> None:
    draw(config, size.cache_dir)


def evaluate_on_sets(
    configs: Sequence[TrackerConfig],
    size: SetSize,
    *,
    workers: int,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Scores]:
    """Scores of settings of posewire's tracker: means over all sets, with all faults and DIS flow.

    Raises what `run_tasks` raises.
    """
    trackers = [Tracking(str(place), config) for place, config in enumerate(configs)]
    tasks = [Task(name, _TUNED_ON, FlowKind.DIS, trackers) for name in SETS]
    by_set = run_tasks(size, tasks, workers=workers, progress=progress)
    return [mean_scores(of_tracker) for of_tracker in zip(*by_set, strict=True)]
