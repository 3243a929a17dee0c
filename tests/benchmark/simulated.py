"""A server whose capacity is known: one frame at a time, each of which takes the same time."""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from posewire_benchmark.load.options import LoadOptions
from posewire_benchmark.load.records import FRAME, STAGES, Outcome, Records
from posewire_benchmark.load.result import LoadResult, Setting
from posewire_benchmark.load.schedule import Schedule
from posewire_benchmark.load.summary import Measured, summarise
from posewire_benchmark.machine import Machine
from posewire_server.streams.inbox import DropPolicy, DropReason
from posewire_server.wire.names import DROP_REASONS

SETTING = Setting(
    machine=Machine("none", 1, 0.0, "none", "3.11", "0", "2026-01-01"),
    server="simulated",
    models="none",
    frames="none",
    boxes="caller",
    drop_policy="latest",
)


class SimulatedRig:
    """Stands in for a `LoadRig`.

    Args:
        options: of the load.
        service_s: that a frame takes.
        hoards: keep every frame, whatever the drop policy says.
        lateness_s: of the generator.
        delay_s: that every result has on its way.
        broken: streams that the server breaks off at the start, where there are as many.
    """

    def __init__(
        self,
        options: LoadOptions,
        service_s: float,
        *,
        hoards: bool = False,
        lateness_s: float = 0.0,
        delay_s: float = 0.0,
        broken: Container[int] = (),
    ) -> None:
        self.options = options
        self.measured: list[tuple[int, float]] = []
        self._service_s = service_s
        self._drops = options.drop_policy is DropPolicy.LATEST and not hoards
        self._lateness_s = lateness_s
        self._delay_s = delay_s
        self._broken = broken

    async def measure(
        self, *, streams: int | None = None, fps: float | None = None, seconds: float | None = None
    ) -> LoadResult:
        return summarise(await self.record(streams=streams, fps=fps, seconds=seconds))

    async def record(
        self, *, streams: int | None = None, fps: float | None = None, seconds: float | None = None
    ) -> Measured:
        of = self.options
        streams, fps, seconds = streams or of.streams, fps or of.fps, seconds or of.seconds
        self.measured.append((streams, fps))
        end_s = of.warm_up_s + seconds
        schedule = Schedule(streams=streams, fps=fps, seconds=end_s)
        return Measured(
            setting=SETTING,
            schedule=schedule,
            records=self._serve(schedule),
            begin_s=of.warm_up_s,
            end_s=end_s,
            max_lateness_ms=of.max_lateness_ms,
            generators=1,
            generator_cpu_s=0.0,
            broken={str(each): "UNAVAILABLE: gone" for each in range(streams) if each in self._broken},
        )

    def _serve(self, schedule: Schedule) -> Records:
        frames = sorted(
            (schedule.due_s(stream, number), stream, number)
            for stream in range(schedule.streams)
            for number in range(schedule.frames(stream))
        )
        records = np.zeros(len(frames), FRAME)  # given up at once
        records["due_s"], records["stream"], records["number"] = np.array(frames).T
        records["noticed_s"] = records["sent_s"] = records["due_s"] + self._lateness_s
        records["answered_s"] = np.nan
        free_s, waiting = 0.0, []
        coming = [frame for frame in range(len(frames)) if records["stream"][frame] not in self._broken][::-1]
        while coming or waiting:
            free_s = max(free_s, records["due_s"][coming[-1]]) if not waiting else free_s
            while coming and records["due_s"][coming[-1]] <= free_s:
                self._put(records, waiting, coming.pop(), free_s)
            taken = waiting.pop(0)
            free_s += self._service_s
            record = records[taken]
            record["outcome"], record["answered_s"] = Outcome.TRACKED, free_s + self._delay_s
            record["stages_ms"][STAGES.index("total")] = self._service_s * 1e3
        return records

    def _put(self, records: Records, waiting: list[int], frame: int, now_s: float) -> None:
        older = [other for other in waiting if records[other]["stream"] == records[frame]["stream"]]
        if not self._drops or not older:
            waiting.append(frame)
            return
        waiting[waiting.index(older[0])] = frame
        dropped = records[older[0]]
        dropped["outcome"], dropped["answered_s"] = Outcome.DROPPED, now_s
        dropped["reason"] = DROP_REASONS[DropReason.SUPERSEDED]
