"""Shared by `ablate` and `tune`: data with ground truth, networks by name, processes, and the flags for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from posewire.cli.failures import CommandError, UsageError, say
from posewire.cli.progress import bar
from posewire.usable_cores import usable_cores

if TYPE_CHECKING:
    from posewire_evaluation.ablation.data_set import LabelledVideo
    from posewire_evaluation.ablation.networks import BundleNetworks

__all__ = [
    "CacheFlag",
    "DataChoice",
    "DeviceFlag",
    "FramesFlag",
    "OutFlag",
    "ScenesFlag",
    "TruthFlag",
    "VideosFlag",
    "WorkersFlag",
    "data_of",
    "evaluation_extra",
    "open_data",
    "processes",
    "say_written",
]

OutFlag: TypeAlias = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for tables and plots.")]
VideosFlag: TypeAlias = Annotated[
    Path | None,
    typer.Option("--videos", metavar="DIR", help="Folder with a video or a folder of pictures for each sequence."),
]
TruthFlag: TypeAlias = Annotated[
    Path | None,
    typer.Option("--gt", metavar="DIR", help="Folder of PoseTrack 2017 or 2018 annotations, named like the videos."),
]
CacheFlag: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        help="Folder to cache the networks' outputs and the scenes in (default: `cache` in --out).",
    ),
]
WorkersFlag: TypeAlias = Annotated[
    int | None,
    typer.Option("--workers", min=1, max=256, metavar="N", help="Number of processes (default: one per processor)."),
]
DeviceFlag: TypeAlias = Annotated[
    str, typer.Option("--device", metavar="NAME", help="Device of the networks: auto, cpu, cuda or cuda:N.")
]
ScenesFlag: TypeAlias = Annotated[
    int, typer.Option("--scenes", min=1, metavar="N", help="Number of synthetic scenes in each set.")
]
FramesFlag: TypeAlias = Annotated[
    int, typer.Option("--frames", min=10, metavar="N", help="Number of frames in each synthetic scene.")
]


@dataclass(frozen=True)
class DataChoice:
    """Videos with ground truth, and the networks to run on them.

    Attributes:
        videos: folder of videos, or of folders of pictures.
        truth: folder of PoseTrack JSON.
        bundles: names or folders.
        detectors: their specifications; each is combined with every bundle.
        flow: specification of the flow estimator; None: the bundle's.
        device: for the networks.
    """

    videos: Path
    truth: Path
    bundles: tuple[str, ...] = ("nano",)
    detectors: tuple[str, ...] = ("bundle",)
    flow: str | None = None
    device: str = "auto"

    def networks(self) -> list[BundleNetworks]:
        """Every bundle with every detector."""
        from posewire_evaluation.ablation.networks import BundleNetworks

        return [
            BundleNetworks(bundle, detector, self.flow or "auto", self.device)
            for bundle in self.bundles
            for detector in self.detectors
        ]


def data_of(
    videos: Path | None,
    truth: Path | None,
    bundles: Sequence[str] | None,
    detectors: Sequence[str] | None,
    flow: str | None,
    device: str,
) -> DataChoice | None:
    """The data that the flags name; None if they name none.

    Raises:
        UsageError: videos without ground truth or vice versa, networks without videos, or no detector.
    """
    if videos is None and truth is None:
        if bundles or detectors or flow:
            raise UsageError("--bundle, --detector and --flow look at videos: give --videos and --gt too")
        return None
    if videos is None or truth is None:
        raise UsageError("--videos and --gt go together: give both")
    if "none" in (detectors or ()):
        raise UsageError("--detector none finds nobody, so there is nobody to track; name one, or leave the flag out")
    return DataChoice(videos, truth, tuple(bundles or ("nano",)), tuple(detectors or ("bundle",)), flow, device)


def open_data(data: DataChoice, *, quiet: bool) -> tuple[list[LabelledVideo], list[BundleNetworks]]:
    """Read the ground truth, find the videos and check the networks' names; raises the same errors as `run_ablate`."""
    from posewire_evaluation.ablation.data_set import read_data_set
    from posewire_evaluation.sequence_videos import note_on_counting

    with bar("reading the ground truth", None, quiet=quiet) as progress:
        sequences = read_data_set(data.videos, data.truth, progress=progress.show)
    if (note := note_on_counting(each.found for each in sequences)) is not None:
        say(f"posewire: note: {note}")
    choices = data.networks()
    for networks in choices:
        try:
            _ = networks.identities
        except ValueError as error:
            raise UsageError(str(error)) from error
    return sequences, choices


def processes(wanted: int | None) -> int:
    """Number of processes to start: 0 instead of 1, since this process can do the work itself."""
    count = usable_cores() if wanted is None else wanted
    return 0 if count == 1 else count


@contextmanager
def evaluation_extra(command: str) -> Iterator[None]:
    """Say how to install missing packages, checking in advance those that are needed last.

    Raises:
        CommandError: one of the extras is not installed.
        EvaluationError: a package that is in no extra is not installed, or no plot can be drawn.
    """
    try:
        from posewire_evaluation.ablation.plots import check_matplotlib
        from posewire_evaluation.identity import check_trackeval

        check_matplotlib()
        check_trackeval()
        yield
    except ModuleNotFoundError as error:
        raise CommandError(
            f"`posewire {command}` needs the package {error.name}; install it: pip install 'posewire[server,eval]'"
        ) from error


def say_written(folder: Path, names: Sequence[str], *, quiet: bool) -> None:
    """Print the names of the written files."""
    if not quiet:
        for name in names:
            say(f"wrote {folder / name}")
