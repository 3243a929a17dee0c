"""Joining the requests of all streams into batches for one stage of inference."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from posewire_server.config import StageBatchingConfig
from posewire_server.errors import InferenceFailed, ServerDraining
from posewire_server.lane import Lane

__all__ = ["Batched", "MicroBatcher"]

Request = TypeVar("Request")
Result = TypeVar("Result")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batched(Generic[Result]):
    """What came of one request.

    Attributes:
        result: of this request.
        ran_ms: how long the batch ran that it was part of, without the time that it waited.
    """

    result: Result
    ran_ms: float


@dataclass(eq=False)
class _Waiting(Generic[Request, Result]):
    request: Request
    weight: int
    future: asyncio.Future[Batched[Result]]
    since: float = field(default_factory=time.monotonic)


class MicroBatcher(Generic[Request, Result]):
    """Collects requests and runs them together on a lane.

    A batch leaves when the lane is free and one of these holds: it is full; the oldest request has waited its budget;
    nobody else is on the way (see `expected`). So a lone request never waits, and under load batches grow by themselves
    while the lane is busy.

    Batches are filled in turn, one request of each stream at a time, so a stream that submits much does not delay
    others. A request whose submitter was cancelled is left out. When a batch fails, each of its requests is run alone,
    so that only the guilty one fails.

    Args:
        name: of the stage, for logs.
        run: a batch of requests in, as many results out; called on the lane's thread.
        lane: where it runs.
        config: size and patience.
        weigh: how much of `max_batch` a request takes, e.g. its number of people.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Request]], Sequence[Result]],
        lane: Lane,
        config: StageBatchingConfig,
        weigh: Callable[[Request], int] = lambda request: 1,
    ) -> None:
        self.name = name
        self._run = run
        self._lane = lane
        self._config = config
        self._weigh = weigh
        self._streams: OrderedDict[Hashable, deque[_Waiting[Request, Result]]] = OrderedDict()
        self._expected: Counter[Hashable] = Counter()
        self._changed = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    async def submit(self, request: Request, stream: Hashable) -> Batched[Result]:
        """Have a request run with the next batch.

        Args:
            request: what `run` takes.
            stream: whose it is.

        Raises:
            InferenceFailed: `run` failed on this request alone.
            ServerDraining: the batcher is closed.
        """
        if self._closed:
            raise ServerDraining("the server is stopping; send this elsewhere")
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(), name=f"batcher-{self.name}")
        waiting = _Waiting[Request, Result](request, self._weigh(request), asyncio.get_running_loop().create_future())
        self._streams.setdefault(stream, deque()).append(waiting)
        self._changed.set()
        try:
            return await waiting.future
        finally:
            self._changed.set()  # cancelled: whoever waited for this one need not

    @contextmanager
    def expected(self, stream: Hashable) -> Iterator[Callable[[], None]]:
        """Announce a request of `stream` that will come soon: batches may wait for it, within their budget.

        Yields:
            A function that withdraws the announcement: to be called right before `submit`, or when none will come. It
            is withdrawn at the end of the block in any case.
        """
        self._expected[stream] += 1
        announced = True

        def withdraw() -> None:
            nonlocal announced
            if announced:
                announced = False
                self._expected[stream] -= 1
                if not self._expected[stream]:
                    del self._expected[stream]
                self._changed.set()

        try:
            yield withdraw
        finally:
            withdraw()

    async def close(self) -> None:
        """Refuse new requests and fail those that wait."""
        self._closed = True
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        for waiting in self._take(limit=None):
            _fail(waiting, ServerDraining("the server stopped before this was processed; send it elsewhere"))

    async def _work(self) -> None:
        while True:
            await self._worth_running()
            async with self._lane.turn:
                batch = self._take(limit=self._config.max_batch)
                if batch:
                    await self._settle(batch)

    async def _worth_running(self) -> None:
        """Return when a batch should leave as soon as the lane is free."""
        while True:
            self._changed.clear()
            patience = self._patience_s()
            if patience is not None and patience <= 0:
                return
            try:
                async with asyncio.timeout(patience):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _patience_s(self) -> float | None:
        """How long a batch may still wait for more requests; None while there is nothing to run."""
        waiting = [waiting for queue in self._streams.values() for waiting in queue if not waiting.future.done()]
        if not waiting:
            return None
        full = sum(each.weight for each in waiting) >= self._config.max_batch
        # A stream has one frame in work at a time: its next request does not come before this one has its result.
        alone = all(stream in self._streams for stream in self._expected)
        if full or alone:
            return 0.0
        oldest = min(each.since for each in waiting)
        return self._config.max_wait_ms / 1e3 - (time.monotonic() - oldest)

    def _take(self, limit: int | None) -> list[_Waiting[Request, Result]]:
        """The next batch: one request of each stream in turn until it weighs `limit`; at least one if any waits."""
        batch: list[_Waiting[Request, Result]] = []
        weight = 0
        while self._streams:
            stream, queue = self._streams.popitem(last=False)
            waiting = queue.popleft()
            if not waiting.future.done():
                if batch and limit is not None and weight + waiting.weight > limit:
                    # It comes first in the next batch: it must not be overtaken by lighter ones for ever.
                    queue.appendleft(waiting)
                    self._streams[stream] = queue
                    self._streams.move_to_end(stream, last=False)
                    break
                batch.append(waiting)
                weight += waiting.weight
            if queue:
                self._streams[stream] = queue
        return batch

    async def _settle(self, batch: Sequence[_Waiting[Request, Result]]) -> None:
        try:
            results, ran_ms = await self._lane.run(lambda: self._run([each.request for each in batch]))
            if len(results) != len(batch):
                raise RuntimeError(f"stage {self.name} gave {len(results)} results for {len(batch)} requests")
        except Exception as error:  # noqa: BLE001  whatever a network raises is that request's failure, not the server's
            await self._retry_singly(batch, error)
            return
        except BaseException:
            # The batcher is being closed in the middle of a batch.
            for waiting in batch:
                _fail(waiting, ServerDraining("the server stopped while this was processed; send it elsewhere"))
            raise
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(Batched(result, ran_ms))

    async def _retry_singly(self, batch: Sequence[_Waiting[Request, Result]], error: Exception) -> None:
        if len(batch) == 1:
            log.error("stage %s failed on a request", self.name, exc_info=error)
            _fail(
                batch[0], InferenceFailed(f"the {self.name} stage failed on this frame; the server's log has the cause")
            )
            return
        log.warning("stage %s failed on a batch of %d; each is run alone", self.name, len(batch), exc_info=error)
        for waiting in batch:
            if not waiting.future.done():
                await self._settle([waiting])


def _fail(waiting: _Waiting[Request, Result], error: Exception) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(error)
