"""`posewire run-dataset`: track a whole data set through the service, for the official tools."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import typer

from posewire import AsyncClient, ServerInfo, TrackerSettings
from posewire.cli.access import ServerAccess
from posewire.cli.failures import CommandError, ExitStatus, UsageError, say
from posewire.cli.private_server import ServerChoice
from posewire.cli.progress import Bar, bar, waiting
from posewire.cli.track import require_detector
from posewire.errors import ConnectionFailed, PosewireError, TimedOut
from posewire.settings import Codec
from posewire.writers import PoseTrackWriter
from posewire.writers._files import write_json
from posewire_evaluation.posetrack_files import read_posetrack
from posewire_evaluation.sequence_videos import SequenceVideo, find_video
from posewire_evaluation.sequences import PoseSequence
from posewire_models.manifest import BundleError, find_bundle, read_manifest
from posewire_models.spec_names import spec_name

__all__ = ["DataSetJob", "run_data_set"]

_SETTINGS_FILE = ".posewire-run.json"
_VERSION = "bundle_version"
_CODEC: Codec = "png"
"""Of frames on their way to the server: a benchmark is about networks and tracker, and JPEG changes what both do."""
_SEQUENCE = re.compile(r"\d{5,6}_[A-Za-z0-9_]+")
_MOST_FAILURES_SHOWN = 5
_ANSWER_S = 10.0


@dataclass(frozen=True)
class DataSetJob:
    """What `run-dataset` was asked to do.

    Attributes:
        videos: folder of the videos or of folders of pictures.
        truth: folder of PoseTrack JSON, which says which sequences and frames there are.
        out: folder of the predictions, one file a sequence, named as the truth.
        server: to use.
        settings: of the tracker.
        parallel: sequences at a time.
        overwrite: do again what is there.
        quiet: say nothing unless something is wrong.
    """

    videos: Path
    truth: Path
    out: Path
    server: ServerChoice
    settings: TrackerSettings
    parallel: int = 4
    overwrite: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class _Task:
    """One sequence to be tracked."""

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
    """Track what is not there yet; ends the program with status 1 unless every sequence has its prediction.

    A prediction appears when its sequence is whole, so that a run that was stopped can be taken up again.

    Raises:
        UsageError: what is there was made with other settings or networks, and is not to be overwritten.
        CommandError: a file or folder is missing or unusable.
    """
    tasks = _tasks(job)
    try:
        job.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{job.out} cannot be made: {error.strerror or error}") from error
    remaining = [task for task in tasks if job.overwrite or not task.out.exists()]
    account = _Account()
    if remaining:
        with contextlib.ExitStack() as stack:
            with waiting("starting a private server" if job.server.address is None else "connecting", quiet=job.quiet):
                access = stack.enter_context(job.server.running())
            account = asyncio.run(_track_all(job, remaining, access))
    else:
        _compare_settings(job)
    if not job.quiet:
        there = f", {len(tasks) - len(remaining)} were there" if len(remaining) < len(tasks) else ""
        speed = f" at {account.fps:.1f} a second" if account.frames else ""
        say(f"{account.done} sequences tracked{there}, {account.frames} frames{speed}; predictions are in {job.out}")
    if account.failures:
        say(f"posewire: {len(account.failures)} of {len(remaining)} sequences have no prediction:")
        for failure in account.failures[:_MOST_FAILURES_SHOWN]:
            say(f"  {failure}")
        raise typer.Exit(ExitStatus.INCOMPLETE)


def _tasks(job: DataSetJob) -> list[_Task]:
    """All sequences, found before anything is started: a missing picture shows at once, not after hours."""
    for folder in (job.videos, job.truth):
        if not folder.is_dir():
            raise CommandError(f"{folder} is not a folder; give one with a file or folder for each sequence")
    files = sorted(job.truth.glob("*.json"))
    if not files:
        raise CommandError(f"{job.truth} holds no *.json; give the folder of PoseTrack's annotations")
    tasks = []
    for place, file in enumerate(files, start=1):
        truth = read_posetrack(file)
        tasks.append(_Task(truth, find_video(job.videos, truth), job.out / file.name, _sequence_name(truth, place)))
    return tasks


def _sequence_name(truth: PoseSequence, place: int) -> str:
    """The name inside the file, which poseval takes apart: the truth's own where it has the right form."""
    for name in (PurePosixPath(truth.pictures).name, truth.name):
        if _SEQUENCE.fullmatch(name):
            return name
    return f"{place:06d}_" + re.sub(r"[^A-Za-z0-9_]+", "_", truth.name)


async def _track_all(job: DataSetJob, tasks: Sequence[_Task], access: ServerAccess) -> _Account:
    account = _Account()
    async with access.async_client() as client:
        info = await client.server_info()
        require_detector(info, job.server)
        _keep_settings(job, tasks, info)
        free = info.limits.max_streams - info.active_streams if info.limits.max_streams else job.parallel
        remaining = iter(tasks)
        with bar("tracking", sum(len(task.truth) for task in tasks), quiet=job.quiet) as shown:
            workers = range(max(1, min(job.parallel, len(tasks), free)))
            running = [asyncio.create_task(_work(job, client, remaining, account, shown)) for _ in workers]
            try:
                await asyncio.gather(*running)
            finally:
                for worker in running:
                    worker.cancel()
                await asyncio.gather(*running, return_exceptions=True)
    return account


def _keep_settings(job: DataSetJob, tasks: Sequence[_Task], info: ServerInfo) -> None:
    """Note what the predictions are made with, or find that those in the folder were made with something else.

    Those go where they are to be overwritten: this run may end before it has made all of them anew.

    Raises:
        UsageError: they were.
    """
    path = job.out / _SETTINGS_FILE
    settings = _settings(job, info)
    before = _read_settings(path)
    if before is not None:
        if not job.overwrite:
            _refuse_others(job.out, before, settings)
            return
        if before != settings:
            for task in tasks:
                task.out.unlink(missing_ok=True)
    write_json(path, settings)


def _compare_settings(job: DataSetJob) -> None:
    """Find that the predictions, all there, were made with something else than is asked for now.

    No server is started for that: without one that runs, what the flags say is all that is compared.

    Raises:
        UsageError: they were.
    """
    before = _read_settings(job.out / _SETTINGS_FILE)
    if before is None:
        return
    info = None if job.server.address is None else asyncio.run(_ask(job.server))
    if info is not None:
        _refuse_others(job.out, before, _settings(job, info))
    elif differences := _differences(before, _settings_by_flags(job)):
        raise UsageError(_made_otherwise(job.out, differences))


async def _ask(server: ServerChoice) -> ServerInfo | None:
    """What a running server says of itself; None if it cannot be reached: nothing is to be tracked by it."""
    with server.running() as access:
        async with access.async_client(timeout_s=_ANSWER_S) as client:
            try:
                return await client.server_info()
            except (ConnectionFailed, TimedOut):
                return None


def _settings(job: DataSetJob, info: ServerInfo) -> dict[str, Any]:
    """What predictions of this server are made with."""
    models: dict[str, Any] = asdict(info.models)
    if job.server.address is None:  # the wire carries no version; the bundle of a private server lies here
        with contextlib.suppress(BundleError):
            models[_VERSION] = read_manifest(find_bundle(job.server.bundle or info.models.bundle)).version
    return {"models": models, "tracker": asdict(info.tracker_defaults) | _tracker_flags(job), "frames": _CODEC}


def _settings_by_flags(job: DataSetJob) -> dict[str, Any]:
    """As much of it as the flags alone say.

    Raises:
        UsageError: there is no such bundle.
    """
    models: dict[str, Any] = {}
    if job.server.bundle is not None:
        try:
            manifest = read_manifest(find_bundle(job.server.bundle))
        except BundleError as error:
            raise UsageError(str(error)) from error
        models = {"bundle": manifest.name, _VERSION: manifest.version}
    for stage, specification in (("detector", job.server.detector), ("flow", job.server.flow)):
        if specification not in (None, "auto", "bundle", "none"):  # those depend on the bundle
            models[stage] = spec_name(specification)  # as servers do
    return {"models": models, "tracker": _tracker_flags(job), "frames": _CODEC}


def _tracker_flags(job: DataSetJob) -> dict[str, Any]:
    return {name: value for name, value in asdict(job.settings).items() if value is not None}


def _refuse_others(out: Path, before: dict[str, Any], settings: dict[str, Any]) -> None:
    """Raise `UsageError` unless both are the same; a version that one of them lacks is no difference."""
    differences = _differences(before, settings)
    if differences or (_flat(before).keys() ^ _flat(settings).keys()) - {_VERSION}:
        raise UsageError(_made_otherwise(out, differences))


def _differences(before: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """Which of the settings that both know differ, and how."""
    was, now = _flat(before), _flat(settings)
    return sorted(
        f"{name} {was[name]!r} there, {now[name]!r} now" for name in was.keys() & now.keys() if was[name] != now[name]
    )


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """All values by their names, which differ between models and tracker."""
    flat: dict[str, Any] = {}
    for part, values in settings.items():
        flat |= values if isinstance(values, dict) else {part: values}
    return flat


def _made_otherwise(out: Path, differences: Sequence[str]) -> str:
    """What differs, and what to do about it."""
    return (
        f"{out} has predictions that were made otherwise ({', '.join(differences) or 'by another version'});"
        " give another --out, or --overwrite to make all of them anew"
    )


def _read_settings(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} cannot be read: {error}; give another --out") from error
    return content if isinstance(content, dict) else {}


async def _work(
    job: DataSetJob, client: AsyncClient, remaining: Iterator[_Task], account: _Account, shown: Bar
) -> None:
    for task in remaining:  # shared by all workers: each takes the next one
        try:
            await _track(job, client, task, account, shown)
        except ConnectionFailed:
            raise  # the others would fail the same way
        except PosewireError as error:
            account.failures.append(f"{task.truth.name}: {error}")
        else:
            account.done += 1


async def _track(job: DataSetJob, client: AsyncClient, task: _Task, account: _Account, shown: Bar) -> None:
    """One sequence from its first frame to its last.

    The service tells every joint with its score; those below the tracker's threshold are left out here, as the paper
    does, since the official tools count whatever is in the file as predicted.

    Raises:
        PosewireError: a frame has no result, or the video lacks frames of the truth. No file is written then.
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
                shown.show(account.frames, f"{account.fps:5.1f} fps  {account.done} sequences done")
            if wanted:
                raise PosewireError(
                    f"{task.video.path} ends before frame {min(wanted)}, which {task.truth.source} lists"
                )
