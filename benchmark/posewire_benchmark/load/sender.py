"""One stream of the load: sends on schedule and records when things happened."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import numpy as np

from posewire._channels.connections import Connection
from posewire.v1 import track_pb2
from posewire_benchmark.footage import Footage, FootageCodec
from posewire_benchmark.load.records import FRAME, STAGES, Outcome, Records
from posewire_benchmark.load.schedule import Schedule

__all__ = ["SendingStream"]

_FIELDS = tuple(f"{stage}_ms" for stage in STAGES)
# The limit that a server names if it refuses a stream because too many were opened just before.
_RATE_OF_OPENINGS = "limits.max_openings_per_s"
# Such a stream is retried for this long, which is less than the generator's parent waits.
_OPENING_S = 90.0
_PAUSE_S = 2.0


class SendingStream:
    """A camera that keeps its own pace, whatever the server does.

    One task watches the schedule and records when it notices that a frame is due; another sends due frames in order,
    and may fall behind while the server does not read; a third receives the answers. No frame is skipped to catch up.

    Args:
        connection: to the server.
        footage: the clip to play.
        schedule: of all streams.
        index: of this stream.
        with_boxes: whether the boxes are sent with the frames.

    Attributes:
        index: of this stream.
        records: of its frames.
    """

    def __init__(
        self, connection: Connection, footage: Footage, schedule: Schedule, index: int, *, with_boxes: bool
    ) -> None:
        self.index = index
        self._connection = connection
        self._footage = footage
        self._schedule = schedule
        self._with_boxes = with_boxes
        # Streams with the same clip start at different frames; a video starts at its keyframe.
        jumps = footage.codec is FootageCodec.JPEG
        self._first = index * 7 % len(footage.frames) if jumps else 0
        self.records: Records = np.zeros(schedule.frames(index), FRAME)
        self.records["stream"] = index
        self.records["number"] = np.arange(len(self.records))
        for name in ("noticed_s", "sent_s", "answered_s", "given_up_s"):
            self.records[name] = np.nan
        self._noticed = 0  # frames that are due
        self._news = asyncio.Event()
        self._call: Any = None

    async def open(self, opening: track_pb2.TrackRequest) -> None:
        """Open the stream; retried for a while if the server refuses only the rate of openings.

        Raises:
            grpc.aio.AioRpcError: the server refuses it.
        """
        give_up_s = time.monotonic() + _OPENING_S
        while True:
            try:
                await self._open(opening)
                return
            except grpc.aio.AioRpcError as error:
                if _RATE_OF_OPENINGS not in (error.details() or "") or time.monotonic() >= give_up_s:
                    raise
            await asyncio.sleep(_PAUSE_S)

    async def _open(self, opening: track_pb2.TrackRequest) -> None:
        self._call = self._connection.stub.Track(metadata=self._connection.metadata)
        await self._call.write(opening)
        await self._call.read()

    async def run(self, start_s: float, patience_s: float) -> str:
        """Send the frames, and wait for the last answers.

        Args:
            start_s: of the schedule, on the clock of `time.monotonic`.
            patience_s: how long to wait for answers after the end of the schedule.

        Returns:
            Why the stream ended early; empty if it did not.
        """
        self.records["due_s"] = [
            start_s + self._schedule.due_s(self.index, number) for number in range(len(self.records))
        ]
        end_s = start_s + self._schedule.seconds
        given_up_s = end_s + patience_s
        try:
            async with asyncio.timeout(given_up_s - time.monotonic()):
                await self._exchange(end_s)
        except (TimeoutError, grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            # After giving up, the call may fail in any of these ways. Frames without an answer then stay open, which
            # is a result and not an error.
            if time.monotonic() < given_up_s:
                if isinstance(error, grpc.aio.AioRpcError):
                    return f"{error.code().name}: {error.details()}"
                return "the server ended the stream"
        finally:
            self._call.cancel()
            self._give_up(end_s)
        return ""

    def _give_up(self, end_s: float) -> None:
        """Record when waiting for answers ended; frames that were never sent are lost when the schedule ends."""
        now_s, sent = time.monotonic(), ~np.isnan(self.records["sent_s"])
        left = self.records["outcome"] == Outcome.OPEN
        self.records["given_up_s"][left] = np.where(sent, now_s, min(now_s, end_s))[left]

    async def _exchange(self, end_s: float) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch_the_schedule())
                tasks.create_task(self._send(end_s))
                tasks.create_task(self._take_answers())
        except BaseExceptionGroup as group:
            # All tasks fail when the call does; its status is the most informative error.
            told = [error for error in group.exceptions if isinstance(error, grpc.aio.AioRpcError)]
            raise (told or group.exceptions)[0] from None

    async def _watch_the_schedule(self) -> None:
        noticed = self.records["noticed_s"]
        for number, due_s in enumerate(self.records["due_s"].tolist()):
            # Also if it is already late, so that the other tasks can run.
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            noticed[number] = time.monotonic()
            self._noticed = number + 1
            self._news.set()

    async def _send(self, end_s: float) -> None:
        sent, due = self.records["sent_s"], self.records["due_s"]
        wall_clock_s = time.time() - time.monotonic()
        played = self._footage.frames
        for number in range(len(self.records)):
            while number >= self._noticed:
                self._news.clear()
                await self._news.wait()
            if time.monotonic() > end_s:
                break  # too late: the rest stays unsent
            request = played[(self._first + number) % len(played)].request(number, with_boxes=self._with_boxes)
            request.frame.capture_time.FromNanoseconds(int((wall_clock_s + due[number]) * 1e9))
            await self._call.write(request)
            sent[number] = time.monotonic()
        await self._call.done_writing()

    async def _take_answers(self) -> None:
        while (response := await self._call.read()) is not grpc.aio.EOF:
            now_s = time.monotonic()
            for dropped in response.dropped:
                self._note(dropped.number, Outcome.DROPPED, now_s, dropped.reason)
            match response.WhichOneof("event"):
                case "tracked":
                    tracked = response.tracked
                    self._note(tracked.number, Outcome.TRACKED, now_s)
                    record = self.records[tracked.number]
                    record["people"] = len(tracked.people)
                    record["stages_ms"] = tuple(getattr(tracked.timings, name) for name in _FIELDS)
                case "failed":
                    self._note(response.failed.number, Outcome.FAILED, now_s, response.failed.reason)
                case _:
                    pass

    def _note(self, number: int, outcome: Outcome, now_s: float, reason: int = 0) -> None:
        record = self.records[number]
        record["outcome"], record["answered_s"], record["reason"] = outcome, now_s, reason
