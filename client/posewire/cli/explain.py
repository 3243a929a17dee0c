"""`posewire explain`: why the people in a recorded frame have their ids."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from posewire.cli.console import plain_console
from posewire.cli.failures import IMPORT_FAILURES, CommandError, UsageError, import_failure, say
from posewire.cli.progress import waiting
from posewire.cli.quantities import quantity
from posewire.cli.replay import read_recording

if TYPE_CHECKING:
    from posewire_server.recording.explanation import FrameExplanation

__all__ = ["ExplainJob", "run_explain"]

_TABLE_WIDTH = 80


@dataclass(frozen=True)
class ExplainJob:
    """The job of `explain`.

    Attributes:
        file: the recording.
        frame: number of the frame.
        bundle: bundle of networks to run; None: the recording's.
        detector: used instead of the bundle's.
        flow: used instead of the bundle's.
        device: of the networks.
    """

    file: Path
    frame: int
    bundle: str | None = None
    detector: str | None = None
    flow: str | None = None
    device: str = "auto"


def run_explain(job: ExplainJob) -> None:
    """Run the recording up to the frame, in this process, and print a table of all candidates.

    Raises:
        CommandError: there is no such frame, or the networks cannot be loaded or cannot run on it.
        UsageError: a network or device has a wrong name.
    """
    recording = read_recording(job.file)
    if recording.damage is not None:
        say(f"posewire: {recording.damage}")
    try:
        from posewire_server.config import ServerConfig
        from posewire_server.errors import ServiceError
        from posewire_server.inference.networks import load_networks
        from posewire_server.recording.explanation import explain, tracked_frame
    except IMPORT_FAILURES as error:
        raise import_failure("`posewire explain`", error) from error
    try:
        tracked_frame(recording, job.frame)  # before the networks are loaded
        recorded = recording.started.models
        try:
            config = ServerConfig(
                bundle=job.bundle or recorded.bundle,
                detector=job.detector or "auto",
                flow=job.flow or "auto",
                flip_test=None if job.bundle else recorded.flip_test,
                device=job.device,
            )
        except ValueError as error:
            raise UsageError(str(error)) from error
        with waiting("running the recording", quiet=False):
            explanation = asyncio.run(explain(recording, job.frame, load_networks(config)))
    except ValueError as error:
        raise CommandError(str(error)) from error
    except ServiceError as error:
        raise CommandError(
            f"these networks cannot run the recording: {error}; give those that it was made with "
            "(--bundle, --detector, --flow)"
        ) from error
    _print(explanation)
    if explanation.ids != explanation.recorded_ids:
        if recording.started.resume.resumed:
            why = "the recorded stream continued an earlier one, of which this run knows nothing: ids have other names"
        else:
            why = "are the networks the same (--bundle, --detector, --flow)?"
        say(
            f"posewire: the recording has ids {_listed(explanation.recorded_ids)} here, this run has"
            f" {_listed(explanation.ids)}; {why}"
        )


def _print(explanation: FrameExplanation) -> None:
    config = explanation.config
    console = plain_console(least_width=_TABLE_WIDTH)
    console.print(
        f"frame {explanation.number}: similarity {config.similarity}, match_threshold {config.match_threshold:g}, "
        f"{'detector ran' if explanation.detector_ran else 'detector did not run'}, "
        f"{quantity(len(explanation.poses), 'pose')}, ids {_listed(explanation.ids)}"
    )
    table = Table(box=None, pad_edge=False)
    for name in ("pose", "box", "track", "seen", "similarity", "", "why"):
        table.add_column(name, justify="right" if name in ("pose", "track", "similarity") else "left")
    for pose in explanation.poses:
        left, top, right, bottom = pose.box
        box = f"{pose.source} {left:.0f},{top:.0f} {right - left:.0f}x{bottom - top:.0f}"
        table.add_row(str(pose.pose), box, str(pose.id or "-"), "", "", "=" if pose.id else "x", pose.why, style="bold")
        for candidate in pose.candidates:
            ago = "last frame" if candidate.frames_ago == 1 else f"{candidate.frames_ago} frames ago"
            mark = "+" if candidate.won else ""
            table.add_row("", "", str(candidate.track), ago, f"{candidate.similarity:.3f}", mark, candidate.why)
    console.print(table)


def _listed(ids: list[int]) -> str:
    return ", ".join(map(str, ids)) or "none"
