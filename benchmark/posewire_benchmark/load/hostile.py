"""`python -m posewire_benchmark.load.hostile`: one hostile client, which runs until its standard input ends.

It reads a plan (JSON), writes `attacking` when the first attack has reached the server, and a `HostileReport` at the
end.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from posewire._channels.connections import Connection
from posewire.v1 import pose_pb2, settings_pb2, track_pb2
from posewire_benchmark.access import access_from, own_connection
from posewire_benchmark.footage import Footage
from posewire_benchmark.load.hostile_kind import HostileKind
from posewire_benchmark.load.planned_process import tell

__all__ = ["HostilePlan", "HostileReport"]

# It stands for another machine: on the server's machine, it uses only processor time that nobody else needs.
_NICE = 19
_STALLED_STREAMS = 8
_NOISE = random.Random(0).randbytes(50_000)
_PAUSE_S = 0.05


@dataclass(frozen=True, kw_only=True)
class HostilePlan:
    """What it is asked to do.

    Attributes:
        kind: of hostility.
        access: how the server is reached, see `access_fields`.
        footage: file of a clip.
        with_boxes: whether boxes are sent with the frames, for a server without a detector.
    """

    kind: str
    access: dict[str, Any]
    footage: str
    with_boxes: bool


@dataclass(frozen=True, kw_only=True)
class HostileReport:
    """What it did.

    Attributes:
        attacks: frames sent, or streams opened (reconnect).
        cores: processor cores that it kept busy.
    """

    attacks: int
    cores: float


class _Hostile:
    def __init__(self, connection: Connection, footage: Footage, *, with_boxes: bool) -> None:
        self.attacks = 0
        self.over = False
        self.begun = asyncio.Event()
        self._connection = connection
        self._footage = footage
        self._with_boxes = with_boxes

    async def attack(self, kind: HostileKind) -> None:
        """Attack again and again until `over`."""
        attack = {
            HostileKind.GARBAGE: self._garbage,
            HostileKind.FLOOD: self._flood,
            HostileKind.STALL: self._stall,
            HostileKind.RECONNECT: self._reconnect,
        }[kind]
        while not self.over:  # cancellation may look like an error of the call
            try:
                await attack()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await asyncio.sleep(_PAUSE_S)  # the server has ended the stream; try again

    async def _garbage(self) -> None:
        """Send noise."""
        await self._send_and_read(_noise, pose_pb2.CODEC_JPEG)

    async def _flood(self) -> None:
        """Send valid pictures."""
        frames = self._footage.frames
        await self._send_and_read(
            lambda number: frames[number % len(frames)].request(number, with_boxes=self._with_boxes),
            self._footage.codec.on_the_wire,
        )

    async def _stall(self) -> None:
        """Open streams and never read."""
        await asyncio.gather(*(self._stalled_stream() for _ in range(_STALLED_STREAMS)))

    async def _reconnect(self) -> None:
        """Open a stream and cancel it."""
        call = await self._open(pose_pb2.CODEC_JPEG)
        call.cancel()
        self._count()

    async def _stalled_stream(self) -> None:
        call = await self._open(pose_pb2.CODEC_JPEG)
        try:
            for number in itertools.count():
                # The write is meant to hang. It must not be cancelled, since that would cancel the call.
                await call.write(_noise(number))
                self._count()
        finally:
            call.cancel()

    async def _send_and_read(
        self, request: Callable[[int], track_pb2.TrackRequest], codec: pose_pb2.Codec.ValueType
    ) -> None:
        call = await self._open(codec)

        async def read() -> None:
            while await call.read() is not grpc.aio.EOF:
                pass

        reading = asyncio.create_task(read())
        try:
            for number in itertools.count():
                await call.write(request(number))
                self._count()
        finally:
            call.cancel()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    def _count(self) -> None:
        self.attacks += 1
        self.begun.set()

    async def _open(self, codec: pose_pb2.Codec.ValueType) -> Any:
        call: Any = self._connection.stub.Track(metadata=self._connection.metadata)
        config = settings_pb2.StreamConfig(codec=codec, drop_policy=settings_pb2.DROP_POLICY_LATEST, name="hostile")
        await call.write(track_pb2.TrackRequest(config=config))
        await call.read()
        return call


async def _attack(plan: HostilePlan) -> HostileReport:
    began_s, cpu_s = time.monotonic(), time.process_time()
    connections = own_connection(access_from(plan.access))
    footage = Footage.load(Path(plan.footage))
    hostile = _Hostile(connections.to(connections.preferred), footage, with_boxes=plan.with_boxes)
    attacking = asyncio.create_task(hostile.attack(HostileKind(plan.kind)))
    telling = asyncio.create_task(_tell(hostile.begun))
    await asyncio.to_thread(sys.stdin.read)
    telling.cancel()
    hostile.over = True
    attacking.cancel()
    with suppress(asyncio.CancelledError):
        await attacking  # an attack that has failed fails the benchmark
    await connections.aclose()
    return HostileReport(attacks=hostile.attacks, cores=(time.process_time() - cpu_s) / (time.monotonic() - began_s))


async def _tell(begun: asyncio.Event) -> None:
    await begun.wait()
    tell("attacking")


def _noise(number: int) -> track_pb2.TrackRequest:
    return track_pb2.TrackRequest(frame=track_pb2.Frame(number=number, data=_NOISE[number % 1000 :]))


def _main() -> None:
    plan = HostilePlan(**json.loads(sys.stdin.readline()))
    os.nice(_NICE)
    with suppress(KeyboardInterrupt):
        tell(json.dumps(dataclasses.asdict(asyncio.run(_attack(plan)))))


if __name__ == "__main__":
    _main()
