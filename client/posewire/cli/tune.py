"""`posewire tune`: a search for the tracker settings that the paper leaves open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from posewire.cli.evaluation_data import (
    CacheFlag,
    DataChoice,
    DeviceFlag,
    FramesFlag,
    OutFlag,
    ScenesFlag,
    TruthFlag,
    VideosFlag,
    WorkersFlag,
    data_of,
    evaluation_extra,
    open_data,
    processes,
    say_written,
)
from posewire.cli.failures import expected_failures
from posewire.cli.options import DetectorFlag, FlowFlag, OwnBundleFlag, QuietFlag
from posewire.cli.outputs import check_folder, make_folder
from posewire.cli.progress import Bar, bar

if TYPE_CHECKING:
    from posewire_evaluation.ablation.scores import Scores
    from posewire_server.tracking import TrackerConfig

__all__ = ["TuneJob", "app", "run_tune"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_ObjectiveName: TypeAlias = Literal["map", "mota", "idf1", "hota"]


@dataclass(frozen=True)
class TuneJob:
    """A search.

    Attributes:
        data: None: the synthetic benchmark sets, for which no network runs.
        out_dir: folder for tables and curves.
        objective: the metric to maximise.
        samples: number of random combinations.
        seed: of these.
        scenes: number of scenes in each synthetic set.
        frames: number of frames in each synthetic scene.
        cache_dir: folder of the cache; None: `cache` in `out_dir`.
        workers: number of processes; None: one per processor.
        quiet: print only the tables.
    """

    data: DataChoice | None
    out_dir: Path
    objective: _ObjectiveName
    samples: int
    seed: int
    scenes: int
    frames: int
    cache_dir: Path | None = None
    workers: int | None = None
    quiet: bool = False


def run_tune(job: TuneJob) -> None:
    """Search, and print and write the results.

    Raises:
        CommandError: the extras are not installed, or a folder cannot be created.
        EvaluationError: the data cannot be used; the message names file and frame.
        UsageError: unknown bundle, detector, flow estimator or device.
    """
    with evaluation_extra("tune"):
        from posewire_evaluation.ablation.search import Objective, search, write_search

        make_folder(job.out_dir)
        if job.cache_dir is not None:
            check_folder(job.cache_dir)
        with bar("searching", None, quiet=job.quiet) as progress:
            evaluate = _on_sets(job, progress) if job.data is None else _on_data(job, job.data, progress)
            found = search(evaluate, objective=Objective(job.objective), samples=job.samples, seed=job.seed)
        print(write_search(found, job.out_dir), end="")
    say_written(job.out_dir, ("tune.txt", "tune.csv", "tune.png"), quiet=job.quiet)


def _on_sets(job: TuneJob, progress: Bar) -> Callable[[Sequence[TrackerConfig]], list[Scores]]:
    from posewire_evaluation.benchmark_sets.matrix import evaluate_on_sets
    from posewire_evaluation.benchmark_sets.trackers import SetSize

    size = SetSize(job.scenes, job.frames, job.cache_dir or job.out_dir / "cache")
    workers = processes(job.workers)
    return lambda configs: evaluate_on_sets(configs, size, workers=workers, progress=progress.show)


def _on_data(job: TuneJob, data: DataChoice, progress: Bar) -> Callable[[Sequence[TrackerConfig]], list[Scores]]:
    from posewire_evaluation.ablation.variants import Variant, measure

    sequences, (networks,) = open_data(data, quiet=job.quiet)

    def evaluate(configs: Sequence[TrackerConfig]) -> list[Scores]:
        variants = [Variant(str(place), config) for place, config in enumerate(configs)]
        measured = measure(
            networks,
            sequences,
            variants,
            job.cache_dir or job.out_dir / "cache",
            workers=processes(job.workers),
            progress=progress.show,
        )
        return [each.scores for each in measured]

    return evaluate


@app.command()
def tune(
    out: OutFlag,
    videos: VideosFlag = None,
    gt: TruthFlag = None,
    bundle: OwnBundleFlag = None,
    detector: DetectorFlag = None,
    flow: FlowFlag = None,
    device: DeviceFlag = "auto",
    objective: Annotated[_ObjectiveName, typer.Option(help="Metric to maximise.")] = "mota",
    samples: Annotated[int, typer.Option(min=0, metavar="N", help="Number of random combinations to try.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the combinations.")] = 0,
    scenes: ScenesFlag = 2,
    frames: FramesFlag = 150,
    cache: CacheFlag = None,
    workers: WorkersFlag = None,
    quiet: QuietFlag = False,
) -> None:
    """Search for the best queue length, box NMS, match and propagation thresholds, which the paper leaves open.

    First one at a time, then random combinations. Without --videos and --gt, the synthetic benchmark sets are used.
    """
    with expected_failures():
        data = data_of(videos, gt, [bundle] if bundle else None, [detector] if detector else None, flow, device)
        run_tune(TuneJob(data, out, objective, samples, seed, scenes, frames, cache, workers, quiet))
