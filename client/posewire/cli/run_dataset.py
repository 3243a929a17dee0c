"""`posewire run-dataset`: track a whole data set with the service, for the official tools."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import typer

from posewire import AsyncClient, TrackerSettings
from posewire.cli.access import ServerAccess
from posewire.cli.crew import Crew
from posewire.cli.failures import CommandError, ExitStatus, UsageError, say
from posewire.cli.outputs import make_folder
from posewire.cli.private_server import ServerChoice, require_detector, require_detector_flag
from posewire.cli.progress import Bar, bar
from posewire.cli.quantities import quantity
from posewire.cli.settings_note import SettingsNote
from posewire.errors import PosewireError
from posewire.settings import Codec
from posewire.writers import PoseTrackWriter
from posewire.writers._posetrack import SEQUENCE_NAME
from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.frame_pairs import check_frames
from posewire_evaluation.posetrack_files import read_posetrack
from posewire_evaluation.sequence_videos import SequenceVideo, labelled_videos, note_on_counting
from posewire_evaluation.sequences import PoseSequence

__all__ = ["DataSetJob", "run_data_set"]

_CODEC: Codec = "png"
"""How frames are sent: a benchmark is about the networks and the tracker, and JPEG would change the results of both."""
_MOST_FAILURES_SHOWN = 5


@dataclass(frozen=True)
class DataSetJob:
    """The job of `run-dataset`.

    Attributes:
        videos: folder of the videos or of folders of pictures.
        truth: folder of PoseTrack JSON, which defines the sequences and frames.
        out: folder of the predictions, one file per sequence, named like the ground truth.
        server: to use.
        settings: of the tracker.
        parallel: number of sequences at a time.
        overwrite: replace existing predictions.
        quiet: print only errors.
    """

    videos: Path
    truth: Path
    out: Path
    server: ServerChoice
    settings: TrackerSettings
    parallel: int = 4
    overwrite: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        require_detector_flag(self.server)

    @property
    def note(self) -> SettingsNote:
        """The note about what the predictions are made with."""
        return SettingsNote(self.out, self.server, self.settings, frames=_CODEC)


@dataclass(frozen=True)
class _Task:
    """One sequence to track."""

    truth: PoseSequence
    video: SequenceVideo
    out: Path
    sequence: str


@dataclass
class _Account:
    """What was done, and which sequences failed and why."""

    frames: int = 0
    done: int = 0
    failures: list[str] = field(default_factory=list)
    start_s: float = field(default_factory=time.monotonic)

    @property
    def fps(self) -> float:
        return self.frames / max(time.monotonic() - self.start_s, 1e-9)


def run_data_set(job: DataSetJob) -> None:
    """Track the sequences without predictions; exits with status 1 unless every sequence has one in the end.

    A prediction appears when its sequence is complete, so that a stopped run can be resumed.

    Raises:
        UsageError: existing predictions were made with other settings or networks, and `overwrite` is not set; or they
            would take the place of the ground truth.
        CommandError: the folder of the predictions cannot be created, or a file in it is not a valid prediction.
        EvaluationError: a file or folder of the data set is missing or unusable.
    """
    tasks = _tasks(job)
    if (note := note_on_counting(task.video for task in tasks)) is not None:
        say(f"posewire: note: {note}")
    remaining = [task for task in tasks if job.overwrite or not _is_done(task)]
    account = _Account()
    if remaining:
        make_folder(job.out)
        with job.server.running(quiet=job.quiet) as access:
            account = asyncio.run(_track_all(job, remaining, access))
    else:
        job.note.compare()
    if not job.quiet:
        there = f", {len(tasks) - len(remaining)} already there" if len(remaining) < len(tasks) else ""
        speed = f" at {account.fps:.1f} a second" if account.frames else ""
        tracked, frames = quantity(account.done, "sequence"), quantity(account.frames, "frame")
        say(f"{tracked} tracked{there}, {frames}{speed}; predictions are in {job.out}")
    if account.failures:
        say(f"posewire: {len(account.failures)} of {quantity(len(remaining), 'sequence')} without a prediction:")
        for failure in account.failures[:_MOST_FAILURES_SHOWN]:
            say(f"  {failure}")
        raise typer.Exit(ExitStatus.INCOMPLETE)


def _tasks(job: DataSetJob) -> list[_Task]:
    """All sequences, collected before anything is started: a missing picture is found at once, not after hours."""
    tasks = []
    for place, (file, truth, video) in enumerate(labelled_videos(job.videos, job.truth), start=1):
        out = job.out / file.name
        if out.exists() and out.samefile(file):
            raise UsageError(f"--out {job.out} would overwrite {file}, the ground truth; give another folder")
        tasks.append(_Task(truth, video, out, _sequence_name(truth, place)))
    return tasks


def _is_done(task: _Task) -> bool:
    """Whether a sequence has its prediction.

    Raises:
        CommandError: its file is not a prediction, or has other frames.
    """
    if not task.out.exists():
        return False
    try:
        check_frames(task.truth, read_posetrack(task.out, predictions=True))
    except EvaluationError as error:
        raise CommandError(f"{error}. Delete {task.out}, and its sequence is tracked again") from error
    return True


def _sequence_name(truth: PoseSequence, place: int) -> str:
    """The name inside the file, which poseval parses: the ground truth's own if it has the right form."""
    for name in (PurePosixPath(truth.pictures).name, truth.name):
        if SEQUENCE_NAME.fullmatch(name):
            return name
    return f"{place:06d}_" + re.sub(r"[^A-Za-z0-9_]+", "_", truth.name)


async def _track_all(job: DataSetJob, tasks: Sequence[_Task], access: ServerAccess) -> _Account:
    account = _Account()
    async with access.async_client() as client:
        info = await client.server_info()
        require_detector(info, job.server)
        job.note.keep(info, overwrite=[task.out for task in tasks] if job.overwrite else None)
        free = info.limits.max_streams - info.active_streams if info.limits.max_streams else job.parallel
        with bar("tracking", sum(len(task.truth) for task in tasks), quiet=job.quiet) as shown:

            async def track(task: _Task) -> None:
                await _track(job, client, task, account, shown)
                account.done += 1

            def fail(task: _Task, error: Exception) -> None:
                account.failures.append(f"{task.truth.name}: {error}")

            crew = Crew(track, fail, quiet=job.quiet, reconnects=access.reconnects)
            await crew.work(tasks, max(1, min(job.parallel, len(tasks), free)))
    return account


async def _track(job: DataSetJob, client: AsyncClient, task: _Task, account: _Account, shown: Bar) -> None:
    """Track one sequence from its first frame to its last.

    The service returns every joint with its score; joints below the tracker's threshold are left out here, as in the
    paper, since the official tools count everything in the file as predicted.

    Raises:
        PosewireError: a frame has no result, or the video lacks frames of the ground truth. No file is written then.
    """
    wanted = {frame.number for frame in task.truth.frames}
    async with client.track(task.video.path, codec=_CODEC, tracker=job.settings, drop_policy="all") as stream:
        with PoseTrackWriter(
            task.out,
            stream.info.joint_set,
            sequence=task.sequence,
            joint_score_threshold=stream.info.settings.tracker.joint_score_threshold or 0.0,
        ) as writer:
            async for result in stream:
                result.raise_for_status()
                number = task.video.number(result.frame)
                account.frames += 1
                if number in wanted:
                    wanted.remove(number)
                    writer.write(replace(result, frame=number, name=f"{number:06d}.jpg"))
                shown.show(account.frames, f"{account.fps:5.1f} fps  {quantity(account.done, 'sequence')} done")
            if wanted:
                raise PosewireError(
                    f"{task.video.path} ends before frame {min(wanted)}, which {task.truth.source} lists"
                )
