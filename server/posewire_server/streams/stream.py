"""One Track stream, from its first frame to its summary.

Three things overlap: requests are read and decoded (`Intake`), frames go through the networks here, one at a time and
in order, and responses are sent (`Outbox`). Every frame gets an answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass

from posewire.v1 import pose_pb2, track_pb2
from posewire_server.admission.decoding_shares import DecodingShare, DecodingShares
from posewire_server.admission.precedence import Precedence
from posewire_server.admission.tokens import Caller
from posewire_server.config import LimitsConfig
from posewire_server.decoding.decoding import Decoding
from posewire_server.drain import DrainSignal
from posewire_server.errors import FrameError, LimitReached
from posewire_server.first_of import one_ended
from posewire_server.inference.outcomes import Tracked
from posewire_server.inference.pipeline import Pipeline
from posewire_server.observability.metrics import Metrics
from posewire_server.observability.tracing import FrameTracer
from posewire_server.streams.detector_pace import DetectorPace
from posewire_server.streams.inbox import DropPolicy, DropReason
from posewire_server.streams.intake import Intake
from posewire_server.streams.lifetime import Lifetime
from posewire_server.streams.outbox import Outbox
from posewire_server.streams.progress import Progress
from posewire_server.streams.resume import snapshot_of
from posewire_server.streams.session import Session
from posewire_server.streams.snapshots import Snapshots
from posewire_server.streams.waiting_frames import ReadyFrame
from posewire_server.tracebacks import forget_locals
from posewire_server.wire.requests import StreamSettings
from posewire_server.wire.responses import people_messages, timings_message
from posewire_server.workers import Workers

__all__ = ["Shared", "TrackStream"]

log = logging.getLogger(__name__)

# A client that loses its server continues from a snapshot of at most this age, and never from one that lacks an id that
# the client has seen: that id would be given to somebody else.
_TOKEN_EVERY_S = 1.0
# Shares of the remaining grace period: first, for finishing the current frame; then, for answering frames that still
# arrive at a draining stream. The rest is for sending the summary.
_LAST_FRAME_SHARE, _GOODBYE_SHARE = 0.5, 0.75


@dataclass(frozen=True, eq=False)
class Shared:
    """What all streams of a server share.

    Attributes:
        pipeline: the networks.
        decoding_threads: they also sign resume tokens.
        shares: divides them between the callers.
        limits: what the server accepts.
        drain: set when the server is about to stop.
        snapshots: issues resume tokens.
        metrics: for Prometheus.
        tracer: records spans; None: tracing is off.
        decoding: the decoders to use.
        precedence: the scheduling between streams.
    """

    pipeline: Pipeline
    decoding_threads: Workers
    shares: DecodingShares
    limits: LimitsConfig
    drain: DrainSignal
    snapshots: Snapshots
    metrics: Metrics
    tracer: FrameTracer | None
    decoding: Decoding
    precedence: Precedence


class TrackStream:
    """The handler of one stream.

    Args:
        session: the stream's state.
        settings: what the client chose.
        shared: what all streams share.
        read: the next request; None after the client's half-close.
        outbox: sends the responses.
        share: the caller's, of the decoding threads.
        caller: who opened the stream.
        continues: id of the stream whose token it was opened with; empty: none.

    Attributes:
        continues: as given.
        progress: its statistics.
    """

    def __init__(
        self,
        session: Session,
        settings: StreamSettings,
        shared: Shared,
        read: Callable[[], Awaitable[track_pb2.TrackRequest | None]],
        outbox: Outbox,
        share: DecodingShare,
        caller: Caller,
        continues: str = "",
    ) -> None:
        self._session = session
        self._settings = settings
        self._shared = shared
        self._outbox = outbox
        limits = caller.within(shared.limits)
        self._standing = shared.precedence.join(
            outbox,
            lambda: outbox.late + self._intake.held_back,
            session.clock.due_s,
            is_held_back=settings.drop_policy is DropPolicy.ALL,
        )
        self._intake = Intake(
            settings,
            limits,
            read,
            share,
            outbox,
            announce=self._announce,
            clock=session.clock,
            allowance=caller.rate,
            decoding=shared.decoding,
            turn=self._standing.turn,
            reading_fps=self._standing.reading_fps,
        )
        self._lifetime = Lifetime(limits, shared.drain, outbox, caller)
        self._drain = DrainSignal(shared.drain.grace_s)  # of this stream: with the server's, or earlier
        self._frame_in_work: asyncio.Timeout | None = None
        self._running: asyncio.Timeout | None = None
        # Without propagation nobody would be found between two runs of the detector.
        most = settings.max_detect_every if settings.tracker.propagation else 0
        self._detector_pace = DetectorPace(settings.tracker.detect_every, most)
        self._late_before = 0  # `outbox.late` when the previous frame was done
        self._token_due_s = 0.0
        self.continues = continues
        self.progress = Progress(session, settings, outbox.accounts, caller.name)
        self._ids_in_token = session.tracker.identities  # given out when the newest token was made
        self._counted_ids = self._counted_frames = 0  # in the metrics

    async def run(self) -> None:
        """Answer every frame until the client half-closes or the server drains, then send the summary.

        Raises:
            ServiceError: the client sent messages out of order, or something that it needs is missing; or see
                `give_way`.
        """
        self._counted_ids = self._session.tracker.identities  # those of an earlier stream were counted there
        try:
            async with asyncio.timeout(None) as self._running, asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._intake.read())
                decoder = tasks.create_task(self._intake.decode())
                reporter = tasks.create_task(self._outbox.report_drops())
                watcher = tasks.create_task(self._drain_when_due())
                await self._process()
                await decoder
                if self._drain:
                    await self._say_goodbye(reader)
                reporter.cancel()
                await self._outbox.summary(self._session.tracker.identities)
                watcher.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None  # all have one cause, or each of them ends the stream
        except TimeoutError:
            raise LimitReached("this stream continues in another one, and there is no place for both") from None
        finally:
            self._running = None
            accounts = self._outbox.accounts  # where a frame is tracked before its result has left
            unanswered = accounts.received - accounts.failed - accounts.dropped - self._counted_frames
            self._shared.metrics.frames_abandoned(unanswered)
        if self._outbox.accounts.open:
            log.error("%d frames were not answered for", self._outbox.accounts.open)

    def give_way(self) -> None:
        """End the stream, since its client continues it in another one."""
        if self._running is not None and not self._running.expired():  # else it ends already
            self._running.reschedule(0.0)  # a time in the past: it expires at once

    def close(self) -> None:
        """Call it at the end, whether the stream has run or not.

        It frees frames and decoders, also on a GPU; reference cycles would keep them until Python's cycle collector
        runs.
        """
        self._shared.precedence.leave(self._standing)
        self._session.previous = None
        del self._intake, self._standing

    async def _process(self) -> None:
        while (ready := await self._intake.ready.get()) is not None:
            with ExitStack() as until_last_stage:  # closed there, or at the latest when the frame is done
                until_last_stage.callback(self._intake.next_may_be_decoded)
                try:
                    tracked = await self._track(ready, until_last_stage.close)
                except FrameError as error:
                    forget_locals(error)  # the frame is among them
                    await self._outbox.failed(ready.frame_id, error)
                except TimeoutError:
                    self._outbox.dropped(ready.frame_id, DropReason.DRAINING)
                else:
                    token = await self._token() if self._token_due else b""
                    message = self._tracked_message(ready, tracked)
                    await self._outbox.tracked(message, token)
                    self._note(ready, tracked, message)
                    self._pace_detector()
                    await self._shared.pipeline.catch_up(self._session)

    async def _track(self, ready: ReadyFrame, nearly_done: Callable[[], None]) -> Tracked:
        """Send a frame through the networks.

        Raises:
            FrameError: it failed.
            TimeoutError: the stream drains, and there was no time left for it.
        """
        async with asyncio.timeout(self._time_for_a_frame_s) as self._frame_in_work:
            try:
                return await self._shared.pipeline.process(
                    self._session,
                    ready.frame,
                    given=ready.boxes,
                    nearly_done=nearly_done,
                    moment_s=ready.moment_s,
                    elapsed=ready.elapsed,
                    turn=self._standing.turn,
                    awaited=not self._standing.greedy,
                )
            finally:
                self._frame_in_work = None

    @property
    def _time_for_a_frame_s(self) -> float | None:
        """Without end, until the stream drains."""
        return self._drain.remaining_s * _LAST_FRAME_SHARE if self._drain else None

    def _announce(self) -> AbstractContextManager[None]:
        """Batches need not wait for a stream that yields to others."""
        return nullcontext() if self._standing.greedy else self._shared.pipeline.approaching(self._session.stream_id)

    @property
    def _token_due(self) -> bool:
        return time.monotonic() >= self._token_due_s or self._session.tracker.identities != self._ids_in_token

    def _note(self, ready: ReadyFrame, tracked: Tracked, message: track_pb2.TrackedFrame) -> None:
        """Count a frame whose result has left."""
        people, births = len(tracked.people), self._session.tracker.identities - self._counted_ids
        self._counted_ids += births
        self._counted_frames += 1
        self.progress.tracked(ready.frame.size, people, message.timings.total_ms)
        self._shared.metrics.frame_tracked(message.timings, self._settings.drop_policy, people, births)
        times = tracked.times
        self._standing.frame_done(ready.decode_ms / 1e3, times.look_ms / 1e3, times.pose_ms / 1e3, people)
        if self._shared.tracer is not None:
            self._shared.tracer.frame_done(self._session.stream_id, ready, tracked)

    def _pace_detector(self) -> None:
        """Let the detector run less often while frames are dropped, are late, or queue for it."""
        late, self._late_before = self._outbox.late - self._late_before, self._outbox.late
        strained = late > 0 or self._intake.next_waits or self._shared.pipeline.detector_is_behind
        self._session.tracker.detect_every = self._detector_pace.frame_tracked(strained=strained)

    async def _token(self) -> bytes:
        """A resume token. Only between frames, while the tracker is idle."""
        self._ids_in_token = self._session.tracker.identities
        self._token_due_s = time.monotonic() + _TOKEN_EVERY_S
        snapshot = snapshot_of(self._session)
        return await self._shared.decoding_threads.run(
            lambda: self._shared.snapshots.issue(snapshot, self._settings.tracker, self._session.stream_id)
        )

    def _tracked_message(self, ready: ReadyFrame, tracked: Tracked) -> track_pb2.TrackedFrame:
        height, width = ready.frame.size
        own = self._shared.pipeline.networks.joint_set
        total_ms = (time.monotonic() - ready.arrived_s) * 1e3
        return track_pb2.TrackedFrame(
            number=ready.frame_id.number,
            capture_time=ready.frame_id.capture_time,
            size=pose_pb2.FrameSize(width=width, height=height),
            people=people_messages(tracked.people, own, self._settings.joint_set),
            timings=timings_message(
                tracked.times, queue_ms=ready.queue_ms, decode_ms=ready.decode_ms, total_ms=total_ms
            ),
            detect_every=tracked.detect_every,
            detector_ran=tracked.detector_ran,
            elapsed=tracked.elapsed,
        )

    async def _drain_when_due(self) -> None:
        """Until it is cancelled."""
        reason = await self._lifetime.over()
        if not self._shared.drain:
            log.info("stream drains: %s", reason)
        self._drain.set()
        self._intake.drain()
        if self._frame_in_work is not None and (left_s := self._time_for_a_frame_s) is not None:
            self._frame_in_work.reschedule(asyncio.get_running_loop().time() + left_s)
        await self._lifetime.watch_client()

    async def _say_goodbye(self, reader: asyncio.Task[None]) -> None:
        """Tell the client to go, after the last frame, and answer what it still sends until it half-closes."""
        listening_s = self._drain.remaining_s * _GOODBYE_SHARE
        await self._outbox.drain(listening_s, await self._token())
        with suppress(TimeoutError):
            async with asyncio.timeout(listening_s):
                await one_ended(reader)
        reader.cancel()
