"""`posewire ablate`: the paper's Table 5 on your own data, or all trackers on the synthetic benchmark sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

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
from posewire.cli.failures import UsageError, expected_failures, say
from posewire.cli.options import FlowFlag, QuietFlag
from posewire.cli.outputs import check_folder, make_folder
from posewire.cli.progress import bar

__all__ = ["AblateJob", "SetsJob", "app", "run_ablate", "run_sets"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class AblateJob:
    """A run of Table 5 on given data.

    Attributes:
        data: videos, ground truth and networks.
        out_dir: folder for the table.
        cache_dir: folder for outputs of networks; None: `cache` in `out_dir`.
        workers: number of processes; None: one per processor.
        quiet: print only the table.
    """

    data: DataChoice
    out_dir: Path
    cache_dir: Path | None = None
    workers: int | None = None
    quiet: bool = False


@dataclass(frozen=True)
class SetsJob:
    """A run of all trackers on the synthetic benchmark sets.

    Attributes:
        out_dir: folder for the tables.
        scenes: number of scenes in each set.
        frames: number of frames in each scene.
        cache_dir: folder for synthetic scenes; None: `cache` in `out_dir`.
        workers: number of processes; None: one per processor.
        quiet: print only the tables.
    """

    out_dir: Path
    scenes: int
    frames: int
    cache_dir: Path | None = None
    workers: int | None = None
    quiet: bool = False


def run_ablate(job: AblateJob) -> None:
    """Measure all rows for all networks, print and write the table.

    Raises:
        CommandError: the extras are not installed, or a folder cannot be created.
        EvaluationError: the data cannot be used; the message names file and frame.
        UsageError: unknown bundle, detector, flow estimator or device, or the same combination twice.
    """
    with evaluation_extra("ablate"):
        from posewire_evaluation.ablation.networks import with_unique_names
        from posewire_evaluation.ablation.table_5 import ablate, write_report
        from posewire_evaluation.ablation.variants import TABLE_5

        make_folder(job.out_dir)
        if job.cache_dir is not None:
            check_folder(job.cache_dir)
        sequences, choices = open_data(job.data, quiet=job.quiet)
        try:
            choices = with_unique_names(choices)
        except ValueError as error:
            raise UsageError(str(error)) from error
        total = len(choices) * (len(sequences) + len(TABLE_5))
        with bar("tracking", total, quiet=job.quiet) as progress:
            rows = ablate(
                choices,
                sequences,
                job.cache_dir or job.out_dir / "cache",
                workers=processes(job.workers),
                progress=progress.show,
            )
        print(write_report(rows, job.out_dir), end="")
    say_written(job.out_dir, ("table_5.txt", "table_5.csv", "table_5.png"), quiet=job.quiet)


def run_sets(job: SetsJob) -> None:
    """Run every tracker on every set with every fault, print and write the tables.

    Raises:
        CommandError: the extras are not installed, or a folder cannot be created.
        EvaluationError: a file of the cache is damaged.
        UsageError: a number is out of range.
    """
    with evaluation_extra("ablate"):
        from posewire_evaluation.benchmark_sets.baselines import missing_package
        from posewire_evaluation.benchmark_sets.page import compare, tasks_of, write_results
        from posewire_evaluation.benchmark_sets.trackers import ALL_TRACKERS, SetSize

        make_folder(job.out_dir)
        if job.cache_dir is not None:
            check_folder(job.cache_dir)
        trackers = []
        for tracker in ALL_TRACKERS:
            missing = missing_package(tracker.name) if tracker.config is None else None
            if missing is None:
                trackers.append(tracker)
            else:
                say(f"posewire: {tracker.name} is left out: the package {missing} is not installed")
        size = SetSize(job.scenes, job.frames, job.cache_dir or job.out_dir / "cache")
        with bar("tracking", len(tasks_of(trackers)), quiet=job.quiet) as progress:
            results = compare(trackers, size, workers=processes(job.workers), progress=progress.show)
        print(write_results(results, job.out_dir), end="")
    say_written(job.out_dir, ("tables.md", "results.csv", "faults.png"), quiet=job.quiet)


@app.command()
def ablate(
    out: OutFlag,
    videos: VideosFlag = None,
    gt: TruthFlag = None,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Compare all trackers on the synthetic benchmark sets.")
    ] = False,
    bundle: Annotated[
        list[str] | None,
        typer.Option("--bundle", metavar="NAME", help="Name or folder of a bundle of networks; repeatable."),
    ] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            "--detector",
            metavar="SPEC",
            help="Detector: bundle, onnx:PATH, torchvision:NAME, published:NAME; repeatable.",
        ),
    ] = None,
    flow: FlowFlag = None,
    device: DeviceFlag = "auto",
    scenes: ScenesFlag = 2,
    frames: FramesFlag = 150,
    cache: CacheFlag = None,
    workers: WorkersFlag = None,
    quiet: QuietFlag = False,
) -> None:
    """Compare joint propagation and each similarity: Table 5 of the paper, on your data.

    The networks run once and their outputs are cached; then several trackers run on the cache in parallel. --synthetic
    compares posewire with other trackers on synthetic scenes with faults of known size, see docs/results.md.
    """
    with expected_failures():
        data = data_of(videos, gt, bundle, detector, flow, device)
        if synthetic == (data is not None):
            raise UsageError("give either --videos and --gt, or --synthetic")
        if data is None:
            run_sets(SetsJob(out, scenes, frames, cache, workers, quiet))
        else:
            run_ablate(AblateJob(data, out, cache, workers, quiet))
