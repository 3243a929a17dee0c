"""Flags that several commands share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_args

import typer

from posewire.cli.failures import UsageError
from posewire.settings import Similarity, TrackerSettings

__all__ = [
    "BundleFlag",
    "DetectEveryFlag",
    "DetectorFlag",
    "FlipTestFlag",
    "FlowFlag",
    "NoPropagationFlag",
    "OwnBundleFlag",
    "QueueLengthFlag",
    "QuietFlag",
    "RenderFlag",
    "ResultFormat",
    "ServerFlag",
    "SimilarityFlag",
    "SourceArgument",
    "flip_test_option",
    "parse_named_values",
    "parse_size",
    "tracker_settings",
]


class ResultFormat(StrEnum):
    """The format of the results."""

    JSONL = "jsonl"
    COCO = "coco"
    POSETRACK = "posetrack"


def flip_test_option(default: str) -> Any:
    """The option of a `bool | None`; `default` says what None means."""
    return typer.Option(
        "--flip-test/--no-flip-test",
        help=f"Whether to average with the poses of mirrored crops, at twice the cost (default: {default}).",
        show_default=False,
    )


ServerFlag: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="HOST:PORT,...",
        help="Address of a running server, or of several interchangeable ones (default: start a private server).",
    ),
]
BundleFlag: TypeAlias = Annotated[
    str | None,
    typer.Option("--bundle", metavar="NAME", help="Name or folder of the private server's bundle of networks."),
]
OwnBundleFlag: TypeAlias = Annotated[
    str | None, typer.Option("--bundle", metavar="NAME", help="Name or folder of the bundle of networks to run.")
]
DetectorFlag: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--detector",
        metavar="SPEC",
        help="Detector instead of the automatic choice: bundle, onnx:PATH, torchvision:NAME, published:NAME or none.",
    ),
]
FlowFlag: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--flow",
        metavar="SPEC",
        help="Optical flow instead of the automatic choice: bundle, dis, flownet2-s:PATH, published:NAME or none.",
    ),
]
FlipTestFlag: TypeAlias = Annotated[bool | None, flip_test_option("as the bundle does")]
SimilarityFlag: TypeAlias = Annotated[
    Similarity | None,
    typer.Option(
        "--similarity",
        metavar="NAME",
        help=f"Similarity measure that poses are matched to tracks by: {', '.join(get_args(Similarity))}"
        " (default: the server's).",
        show_default=False,
    ),
]
NoPropagationFlag: TypeAlias = Annotated[
    bool, typer.Option("--no-propagation", help="Use the detector's boxes only, none propagated by optical flow.")
]
QueueLengthFlag: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--queue-length",
        min=1,
        max=1000,
        metavar="N",
        help="Number of past frames that the tracker remembers (default: the server's).",
    ),
]
DetectEveryFlag: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--detect-every",
        min=1,
        max=1000,
        metavar="N",
        help="Run the detector on every N-th frame only (default: the server's).",
    ),
]
QuietFlag: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")]
SourceArgument: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="SOURCE", help="Video file, folder of pictures, camera number, or address (rtsp://...)."),
]
RenderFlag: TypeAlias = Annotated[
    Path | None, typer.Option("--render", metavar="F.mp4", help="Write an annotated video to this file.")
]


def parse_size(text: str) -> tuple[int, int]:
    """Width and height from `640x480`.

    Raises:
        typer.BadParameter: another form.
    """
    if re.fullmatch("[0-9]{1,9}x[0-9]{1,9}", text) is None:
        raise typer.BadParameter(f"{text!r} is not a size; give WIDTHxHEIGHT, e.g. 640x480")
    width, height = map(int, text.split("x"))
    return width, height


def parse_named_values(flag: str, texts: Sequence[str]) -> dict[str, str]:
    """Values by their names, from texts such as `framerate=30`.

    Raises:
        UsageError: a text has no name.
    """
    for text in texts:
        if re.match(r"\w+=", text) is None:  # not quoted, since it may be a password
            raise UsageError(f"{flag} is NAME=VALUE, such as {flag} framerate=30")
    return {name: value for name, _, value in (text.partition("=") for text in texts)}


def tracker_settings(
    similarity: Similarity | None, no_propagation: bool, queue_length: int | None, detect_every: int | None
) -> TrackerSettings:
    """The tracker settings given by flags; the others are the server's defaults."""
    return TrackerSettings(
        similarity=similarity,
        propagation=False if no_propagation else None,
        queue_length=queue_length,
        detect_every=detect_every,
    )
