"""`posewire replay`: run a recorded stream again, and compare the results."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import grpc.aio
import typer

from posewire._channels.connections import Connection
from posewire._channels.status import error_from_status
from posewire.cli.access import ServerAccess
from posewire.cli.failures import IMPORT_FAILURES, CommandError, ExitStatus, import_failure, say
from posewire.cli.private_server import ServerChoice
from posewire.cli.progress import Bar, bar
from posewire.cli.quantities import quantity
from posewire.os_errors import reason_of
from posewire.v1 import settings_pb2, track_pb2

if TYPE_CHECKING:
    from posewire_server.recording.comparison import Comparison
    from posewire_server.recording.recording import Recording

__all__ = ["ReplayJob", "read_recording", "run_replay"]

_TrackCall: TypeAlias = "grpc.aio.StreamStreamCall[track_pb2.TrackRequest, track_pb2.TrackResponse]"


@dataclass(frozen=True)
class ReplayJob:
    """The job of `replay`.

    Attributes:
        file: the recording.
        server: runs it again.
        tolerance_px: maximum distance between joints that count as equal.
        quiet: print only differences and errors.
    """

    file: Path
    server: ServerChoice
    tolerance_px: float
    quiet: bool


def run_replay(job: ReplayJob) -> None:
    """Run a recording again. Exits with 1 if anything differs, the file is damaged, or there is nothing to compare.

    Raises:
        CommandError: the file is not a recording, or the server drains.
        CallError: the server does not accept the stream.
    """
    recording = read_recording(job.file)
    from posewire_server.recording.comparison import Comparison  # after a missing package has been reported

    comparison = Comparison(job.tolerance_px, renamed=recording.started.resume.resumed)
    if not job.quiet:
        for line in _notes(recording):
            say(line)
    with (
        job.server.running(quiet=job.quiet) as access,
        bar("replaying", len(recording.outcomes), quiet=job.quiet) as shown,
    ):
        now = asyncio.run(_replay(recording, access, comparison, shown))
    _say_models(recording.started.models, now.models)
    if comparison.differences:
        number, what = comparison.differences[0]
        say(f"posewire: frame {number} differs: {what}")
        say(f"posewire: {len(comparison.differences)} of {quantity(comparison.frames, 'frame')} differ")
    elif comparison.frames and not job.quiet:
        say(f"{quantity(comparison.frames, 'frame')}: same ids, joints within {comparison.worst_px:.4f} px")
    if recording.damage is not None:
        say(f"posewire: {recording.damage}; compared up to there: {quantity(comparison.frames, 'frame')}")
    elif not comparison.frames:
        say(f"posewire: {job.file} has no frame to compare: none was tracked, and none failed")
    if comparison.differences or recording.damage is not None or not comparison.frames:
        raise typer.Exit(ExitStatus.INCOMPLETE)


def read_recording(file: Path) -> Recording:
    """The recording in a file; of a damaged one, the readable part.

    Raises:
        CommandError: the file is not a recording.
    """
    try:
        from posewire_server.recording.recording import Recording
    except IMPORT_FAILURES as error:
        raise import_failure("reading a recording", error) from error
    try:
        return Recording.read(file)
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {reason_of(error)}") from error
    except ValueError as error:
        raise CommandError(str(error)) from error


def _notes(recording: Recording) -> Iterator[str]:
    """Notes that help to interpret the result."""
    if recording.ending is None and recording.damage is None:
        yield "the recording has no end: its server was killed, its disk was full, or it is still recording"
    if recording.started.resume.resumed:
        yield "the recorded stream continued an earlier one: ids are compared up to their numbering"
    if recording.is_stretched:
        yield "under load, the detector ran less often than requested; now it runs as requested, so ids may differ"
    if recording.is_video and any(isinstance(each, track_pb2.DroppedFrame) for each in recording.outcomes.values()):
        yield "packets were dropped after they had been decoded; now they are tracked, so ids may differ"


def _say_models(recorded: track_pb2.ServerModels, now: track_pb2.ServerModels) -> None:
    changed = [
        f"{name} {getattr(recorded, name) or 'none'}, now {getattr(now, name) or 'none'}"
        for name in ("bundle", "bundle_version", "detector", "flow", "pose")
        if getattr(recorded, name) != getattr(now, name)
    ]
    if recorded.flip_test != now.flip_test:
        changed.append("no flip test, now with it" if now.flip_test else "flip test, now without it")
    if changed:
        say(f"posewire: recorded with other networks: {'; '.join(changed)}")


async def _replay(
    recording: Recording, access: ServerAccess, comparison: Comparison, shown: Bar
) -> track_pb2.StreamStarted:
    """Send the recorded frames and compare the results; returns what the server decided on."""

    async def open_call(server: Connection) -> tuple[_TrackCall, track_pb2.StreamStarted]:
        call = server.stub.Track(metadata=server.metadata)
        await call.write(track_pb2.TrackRequest(config=_settings(recording)))
        response = await call.read()
        if not isinstance(response, track_pb2.TrackResponse):
            raise CommandError(f"the server at {server.address} ended the stream before it began")
        return call, response.started

    connections = access.connections()
    try:
        call, started = await connections.first_answer(open_call, "replaying")
        tasks = [
            asyncio.create_task(work)
            for work in (_send(recording, call), _compare_all(recording, call, comparison, shown))
        ]
        try:
            await asyncio.gather(*tasks)  # if one fails, the other would wait for it
        finally:
            for task in tasks:
                task.cancel()
    except grpc.aio.AioRpcError as error:
        raise error_from_status(error, connections.preferred, "replaying") from error
    finally:
        await connections.aclose()
    return started


def _settings(recording: Recording) -> settings_pb2.StreamConfig:
    """The recorded settings, but without dropping frames."""
    config = settings_pb2.StreamConfig()
    config.CopyFrom(recording.config)
    config.drop_policy = settings_pb2.DROP_POLICY_ALL
    config.name = "replay"
    for name in ("max_age_ms", "max_detect_every", "resume"):
        config.ClearField(name)
    return config


async def _send(recording: Recording, call: _TrackCall) -> None:
    with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):  # over: reading raises the reason
        for frame in recording.frames_to_repeat():
            await call.write(track_pb2.TrackRequest(frame=frame))
        await call.done_writing()


async def _compare_all(recording: Recording, call: _TrackCall, comparison: Comparison, shown: Bar) -> None:
    while isinstance(response := await call.read(), track_pb2.TrackResponse):
        if _drains(response):
            raise CommandError(
                f"the server is going away: {comparison.frames} of {quantity(len(recording.outcomes), 'frame')} were "
                "compared; replay again when it is back, or at another one (--server)"
            )
        _compare(recording, response, comparison)
        shown.show(comparison.frames)


def _drains(response: track_pb2.TrackResponse) -> bool:
    """Whether the server is going away, so that frames are dropped from now on."""
    reasons = {each.reason for each in response.dropped}
    return response.HasField("drain") or track_pb2.DROP_REASON_DRAINING in reasons


def _compare(recording: Recording, response: track_pb2.TrackResponse, comparison: Comparison) -> None:
    answers: list[track_pb2.TrackedFrame | track_pb2.FailedFrame | track_pb2.DroppedFrame] = list(response.dropped)
    if response.HasField("tracked"):
        answers.append(response.tracked)
    elif response.HasField("failed"):
        answers.append(response.failed)
    for answer in answers:
        if (recorded := recording.counterpart(answer)) is not None:
            comparison.add(answer.number, recorded, answer)
