"""`python -m posewire_benchmark.load.generator`: one process that sends streams on schedule.

It communicates with its parent by lines: it reads a plan (JSON), writes `ready` when all streams are open, reads the
time to start, and writes a `Closing` (JSON) when the frames' records are in the plan's file. If its standard input
ends, the parent is gone, and it stops sending.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import gc
import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from posewire._channels.status import error_from_status
from posewire.cli.quantities import quantity
from posewire.v1 import track_pb2
from posewire_benchmark.access import access_from, own_connection
from posewire_benchmark.footage import Footage
from posewire_benchmark.load.planned_process import tell
from posewire_benchmark.load.schedule import Schedule
from posewire_benchmark.load.sender import SendingStream

__all__ = ["Closing", "GeneratorPlan"]


# Raised priority: real cameras do not wait for the server's processor. A generator uses little of it.
_AHEAD = 10


@dataclass(frozen=True, kw_only=True)
class GeneratorPlan:
    """What one process sends.

    Attributes:
        accesses: how the servers are reached, see `access_fields`; stream `i` uses access `i`, modulo their number.
        footage: files of clips; stream `i` plays clip `i`, modulo their number.
        streams: numbers of this process's streams.
        of: number of streams of all processes.
        fps: of each stream.
        send_s: how long frames become due.
        counted_s: begin and end of the time in which processor time is measured, in seconds after the start.
        patience_s: how long to wait for the last answers.
        first_request: opens a stream, as base64.
        with_boxes: whether the frames' boxes are sent with them.
        records: file for the records, as .npy.
    """

    accesses: list[dict[str, Any]]
    footage: list[str]
    streams: list[int]
    of: int
    fps: float
    send_s: float
    counted_s: tuple[float, float]
    patience_s: float
    first_request: str
    with_boxes: bool
    records: str


@dataclass(frozen=True, kw_only=True)
class Closing:
    """What a process reports at the end.

    Attributes:
        cpu_s: processor time used during `counted_s`.
        broken: streams that ended early, and why.
        error: why nothing was measured; empty if it was.
        refused: whether the reason is that the server accepts no more streams.
    """

    cpu_s: float = 0.0
    broken: dict[str, str] = dataclasses.field(default_factory=dict)
    error: str = ""
    refused: bool = False


async def _generate(plan: GeneratorPlan) -> Closing:
    """Send all streams; cancelled when standard input ends. Also raises errors in reading it."""
    starting = asyncio.get_running_loop().create_future()
    sending = asyncio.create_task(_send(plan, starting))
    listening = asyncio.create_task(_listen(starting))
    listening.add_done_callback(lambda _: sending.cancel())
    try:
        return await sending
    except asyncio.CancelledError:
        if listening.done():
            await listening
        raise
    finally:
        listening.cancel()


async def _listen(starting: asyncio.Future[float]) -> None:
    lines = asyncio.StreamReader()
    # Not read in a thread, which could not be stopped.
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async for line in lines:
        starting.set_result(float(line))


async def _send(plan: GeneratorPlan, starting: asyncio.Future[float]) -> Closing:
    schedule = Schedule(streams=plan.of, fps=plan.fps, seconds=plan.send_s)
    clips = [Footage.load(Path(path)) for path in plan.footage]
    opening = track_pb2.TrackRequest.FromString(base64.b64decode(plan.first_request))
    accesses = [access_from(fields) for fields in plan.accesses]
    connections = [own_connection(accesses[index % len(accesses)]) for index in plan.streams]
    streams = [
        SendingStream(
            connection.to(connection.preferred), clips[index % len(clips)], schedule, index, with_boxes=plan.with_boxes
        )
        for index, connection in zip(plan.streams, connections, strict=True)
    ]
    try:
        await asyncio.gather(*(stream.open(opening) for stream in streams))
        gc.freeze()  # these objects stay; scanning them again and again would make frames late
        tell("ready")
        start_s = await starting
        counting = asyncio.create_task(_cpu_between(*(start_s + at for at in plan.counted_s)))
        broken = await asyncio.gather(*(stream.run(start_s, plan.patience_s) for stream in streams))
        np.save(plan.records, np.concatenate([stream.records for stream in streams]))
        return Closing(
            cpu_s=await counting,
            broken={str(stream.index): why for stream, why in zip(streams, broken, strict=True) if why},
        )
    finally:
        for connection in connections:
            await connection.aclose()


async def _cpu_between(begin_s: float, end_s: float) -> float:
    await asyncio.sleep(begin_s - time.monotonic())
    before = time.process_time()
    await asyncio.sleep(end_s - time.monotonic())
    return time.process_time() - before


def _main() -> None:
    plan = GeneratorPlan(**json.loads(sys.stdin.readline()))
    with suppress(OSError):  # not every user is permitted to
        os.nice(-_AHEAD)
    try:
        closing = asyncio.run(_generate(plan))
    except grpc.aio.AioRpcError as error:
        closing = _not_opened(plan, error)
    except (ValueError, OSError) as error:
        closing = Closing(error=str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        closing = Closing(error="it was interrupted")
    tell(json.dumps(dataclasses.asdict(closing)))


def _not_opened(plan: GeneratorPlan, error: grpc.aio.AioRpcError) -> Closing:
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Closing(error=f"the server refuses {quantity(plan.of, 'stream')}: {error.details()}", refused=True)
    addresses = ", ".join(address for access in plan.accesses for address in access["addresses"])
    return Closing(error=str(error_from_status(error, addresses, "opening streams")))


if __name__ == "__main__":
    _main()
