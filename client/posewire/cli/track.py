"""`posewire track`: follow people through a video."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass, field
from pathlib import Path

import typer

from posewire import Client, TrackerSettings
from posewire._client import TrackStream
from posewire.cli.failures import CommandError, UsageError
from posewire.cli.interrupts import Interrupts
from posewire.cli.options import ResultFormat
from posewire.cli.outputs import check_outputs, check_video_output
from posewire.cli.private_server import ServerChoice, require_detector, require_detector_flag
from posewire.cli.progress import waiting
from posewire.cli.streaming import Outcome, check_source, connected, consume, report
from posewire.writers import CocoResultsWriter, JsonLinesWriter, PoseTrackWriter, ResultWriter, VideoWriter
from posewire.writers._posetrack import SEQUENCE_NAME

__all__ = ["JPEG_QUALITY", "TrackJob", "run_track"]

JPEG_QUALITY = 95
"""Quality of the frames sent to the server, as in the best setting of a camera. Can move joints with low scores."""

_STDOUT = Path("/dev/stdout")


@dataclass(frozen=True)
class TrackJob:
    """The job of `track`.

    Attributes:
        source: of the frames.
        server: to use.
        settings: of the tracker.
        out: result file; `-` is standard output.
        out_format: of the result file.
        render: annotated video.
        max_frames: stop after this many frames.
        reopen_for_s: how long to try to open a camera or network stream again that has stopped.
        source_options: of FFmpeg's input.
        name: label of the stream at the server.
        quiet: print only errors.

    Raises:
        UsageError: a format that needs a file is requested for standard output, or the detector is `none`.
    """

    source: str
    server: ServerChoice
    settings: TrackerSettings
    out: Path | None = None
    out_format: ResultFormat = ResultFormat.JSONL
    render: Path | None = None
    max_frames: int | None = None
    reopen_for_s: float = 0.0
    source_options: dict[str, str] = field(default_factory=dict)
    name: str = ""
    quiet: bool = False

    def __post_init__(self) -> None:
        require_detector_flag(self.server)
        if self.to_stdout and self.out_format is not ResultFormat.JSONL:
            raise UsageError(f"the format {self.out_format} is written whole at the end; give --out a file name")

    @property
    def to_stdout(self) -> bool:
        """Whether results go to standard output."""
        return self.out == Path("-")


def run_track(job: TrackJob) -> None:
    """Track a source to its end; exits with status 1 or 130 unless every frame was tracked.

    Raises:
        CommandError: the results cannot be written.
        SourceError: the source cannot be read.
    """
    if job.to_stdout and sys.stdout is None:
        raise CommandError(
            "standard output is closed, so the results would be lost; give --out a file name, or open it"
        )
    results = None if job.to_stdout else job.out
    with Interrupts() as interrupts:
        check_source(job.source)
        check_outputs({"--out": results, "--render": job.render}, [job.source])
        check_video_output("--render", job.render)
        with connected(job.server, quiet=job.quiet) as (client, info):
            require_detector(info, job.server)
            outcome = _track(job, client, interrupts)
    report(outcome, results=results, video=job.render, quiet=job.quiet)
    if outcome.status:
        raise typer.Exit(outcome.status)


def _track(job: TrackJob, client: Client, interrupts: Interrupts) -> Outcome:
    keep_images = job.render is not None
    with contextlib.ExitStack() as stack:
        with waiting("opening the source", quiet=job.quiet):
            stream = stack.enter_context(
                client.track(
                    job.source,
                    max_frames=job.max_frames,
                    reopen_for_s=job.reopen_for_s,
                    source_options=job.source_options,
                    keep_images=keep_images,
                    jpeg_quality=JPEG_QUALITY,
                    name=job.name,
                    tracker=job.settings,
                )
            )
        writers: list[ResultWriter] = []
        if job.out is not None:
            writers.append(stack.enter_context(_result_writer(job, stream)))
        if job.render is not None:
            fps = stream.source.fps if stream.source is not None else None
            writers.append(stack.enter_context(VideoWriter(job.render, stream.info.joint_set, fps=fps)))
        return consume(stream, writers, interrupts, quiet=job.quiet)


def _result_writer(job: TrackJob, stream: TrackStream) -> ResultWriter:
    assert job.out is not None
    assert stream.source is not None
    info = stream.info
    if job.out_format is ResultFormat.COCO:
        return CocoResultsWriter(job.out, info.joint_set)
    if job.out_format is ResultFormat.POSETRACK:
        stem = Path(job.source).stem
        named = {"sequence": stem} if SEQUENCE_NAME.fullmatch(stem) else {}
        # Such files are for scoring, which counts everything in them, so low-scoring joints are left out.
        threshold = info.settings.tracker.joint_score_threshold or 0.0
        return PoseTrackWriter(job.out, info.joint_set, joint_score_threshold=threshold, **named)
    # The source's name, which does not contain a camera's password.
    return JsonLinesWriter(_STDOUT if job.to_stdout else job.out, info, stream.source.name)
