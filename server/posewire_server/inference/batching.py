"""Batches the requests of all streams for one stage of inference."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from posewire_server.config import StageBatchingConfig
from posewire_server.counting import counted
from posewire_server.errors import InferenceFailed, ServerDraining
from posewire_server.inference.lane import Lane
from posewire_server.observability.logs import facts

__all__ = ["BatchReport", "Batched", "MicroBatcher"]

Request = TypeVar("Request")
Result = TypeVar("Result")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batched(Generic[Result]):
    """The result of one request.

    Attributes:
        result: of this request.
        ran_ms: how long its batch ran, without the time that it waited.
        began_s: when it began to run, on the clock of `time.perf_counter`.
    """

    result: Result
    ran_ms: float
    began_s: float


class BatchReport(NamedTuple):
    """What happened to one batch.

    Attributes:
        stage: name of the stage.
        weight: total weight of its requests.
        ran_ms: how long it ran.
        error: why it failed; None if it did not.
    """

    stage: str
    weight: int
    ran_ms: float
    error: BaseException | None


@dataclass(eq=False)
class _Waiting(Generic[Request, Result]):
    request: Request
    stream: Hashable
    weight: int
    future: asyncio.Future[Batched[Result]]
    since: float = field(default_factory=time.monotonic)


class MicroBatcher(Generic[Request, Result]):
    """Collects requests and runs them together on a lane.

    A batch starts when the lane is free and one of these holds: it is full; the oldest request has waited for
    `max_wait_ms`; no other request is on its way (see `expected`). So a lone request never waits, and under load
    batches grow while the lane is busy.

    Batches are filled round-robin, one request of each stream at a time, so that a stream with many requests does not
    delay others. Cancelled requests are left out. When a batch fails, each of its requests is run alone, so that only
    the request that caused it fails.

    Args:
        name: of the stage, for logs.
        run: takes a batch of requests, returns as many results; called on the lane's thread.
        lane: where batches run.
        config: maximum size and wait.
        weigh: how much of `max_batch` a request takes, e.g. its number of people.
        watches: called with a report of every batch that has run.

    Attributes:
        name: of the stage.
        waiting: number of requests that have not begun to run.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Request]], Sequence[Result]],
        lane: Lane,
        config: StageBatchingConfig,
        weigh: Callable[[Request], int] = lambda request: 1,
        watches: Sequence[Callable[[BatchReport], None]] = (),
    ) -> None:
        self.name = name
        self.waiting = 0
        self._watches = watches
        self._run = run
        self._lane = lane
        self._config = config
        self._weigh = weigh
        self._streams: OrderedDict[Hashable, deque[_Waiting[Request, Result]]] = OrderedDict()
        self._suspects: deque[_Waiting[Request, Result]] = deque()  # of a batch that failed: each is run alone
        self._running: list[_Waiting[Request, Result]] = []
        self._expected: Counter[Hashable] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        lane.join(self)

    def submit(self, request: Request, stream: Hashable) -> asyncio.Future[Batched[Result]]:
        """Have a request run with the next batch.

        Args:
            request: what `run` takes.
            stream: whose it is.

        Returns:
            A future with the result. Cancelling it removes the request. It fails with `InferenceFailed` if `run` failed
            on this request alone, and with `ServerDraining` if the batcher is closed.
        """
        future = asyncio.get_running_loop().create_future()
        waiting = _Waiting[Request, Result](request, stream, self._weigh(request), future)
        if self._closed:
            _fail(waiting, ServerDraining("the server is stopping; send this elsewhere"))
            return waiting.future
        self._streams.setdefault(stream, deque()).append(waiting)
        self.waiting += 1
        self.start_batch()
        return waiting.future

    @contextmanager
    def expected(self, stream: Hashable) -> Iterator[Callable[[], None]]:
        """Announce that `stream` will submit a request soon: batches may wait for it, for at most `max_wait_ms`.

        Yields:
            A function that withdraws the announcement. Call it right before `submit`, or when no request will come. The
            announcement is also withdrawn at the end of the block.
        """
        with ExitStack() as announcement:
            # Not at once: the announced request comes right after this.
            announcement.callback(asyncio.get_running_loop().call_soon, self.start_batch)
            announcement.enter_context(counted(self._expected, stream))
            yield announcement.close

    def close(self) -> None:
        """Refuse new requests and fail those that are waiting or running."""
        self._closed = True
        self._stop_timer()
        for waiting in (*self._running, *self._suspects, *self._take(limit=None)):
            _fail(waiting, ServerDraining("the server stopped before this was processed; send it elsewhere"))

    def start_batch(self) -> bool:
        """Start a batch if the lane is free and the batch should not wait any longer; returns whether it did."""
        if self._closed or not self._lane.free:
            return False  # the lane asks again when it is free
        self._stop_timer()
        patience_s = self._patience_s()
        if patience_s is None:
            return False
        if patience_s > 0:
            self._timer = asyncio.get_running_loop().call_later(patience_s, self.start_batch)
            return False
        batch = self._running = [self._suspects.popleft()] if self._suspects else self._take(self._config.max_batch)
        self._lane.run(
            lambda: self._checked([each.request for each in batch]),
            lambda results, error, began_s, ran_ms: self._settle(batch, results, error, began_s, ran_ms),
        )
        return True

    def _patience_s(self) -> float | None:
        """How long a batch may still wait for more requests; None while there is nothing to run."""
        while self._suspects and self._suspects[0].future.done():
            self._suspects.popleft()
        if self._suspects:
            return 0.0
        self._forget_cancelled()
        waiting = [waiting for queue in self._streams.values() for waiting in queue]
        if not waiting:
            return None
        full = sum(each.weight for each in waiting) >= self._config.max_batch
        # A stream has one frame in progress at a time: its next request comes only after the result of this one.
        alone = all(stream in self._streams for stream in self._expected)
        if full or alone:
            return 0.0
        oldest = min(each.since for each in waiting)
        return self._config.max_wait_ms / 1e3 - (time.monotonic() - oldest)

    def _forget_cancelled(self) -> None:
        """Remove cancelled requests."""
        if not any(waiting.future.done() for queue in self._streams.values() for waiting in queue):
            return
        for stream, queue in list(self._streams.items()):
            kept = deque(waiting for waiting in queue if not waiting.future.done())
            self.waiting -= len(queue) - len(kept)
            if kept:
                self._streams[stream] = kept  # where it was: the order of turns stays
            else:
                del self._streams[stream]

    def _take(self, limit: int | None) -> list[_Waiting[Request, Result]]:
        """The next batch: one request of each stream in turn until it weighs `limit`; at least one if any waits."""
        batch: list[_Waiting[Request, Result]] = []
        weight = 0
        while self._streams:
            stream, queue = self._streams.popitem(last=False)
            waiting = queue.popleft()
            self.waiting -= 1
            if not waiting.future.done():
                if batch and limit is not None and weight + waiting.weight > limit:
                    # It goes first in the next batch, so that lighter requests cannot overtake it forever.
                    queue.appendleft(waiting)
                    self.waiting += 1
                    self._streams[stream] = queue
                    self._streams.move_to_end(stream, last=False)
                    break
                batch.append(waiting)
                weight += waiting.weight
            if queue:
                self._streams[stream] = queue
        return batch

    def _checked(self, requests: Sequence[Request]) -> Sequence[Result]:
        """On the lane's thread."""
        results = self._run(requests)
        if len(results) != len(requests):
            raise RuntimeError(f"stage {self.name} gave {len(results)} results for {len(requests)} requests")
        return results

    def _settle(
        self,
        batch: Sequence[_Waiting[Request, Result]],
        results: Sequence[Result] | None,
        error: BaseException | None,
        began_s: float,
        ran_ms: float,
    ) -> None:
        self._running = []
        report = BatchReport(self.name, sum(each.weight for each in batch), ran_ms, error)
        for watch in self._watches:
            watch(report)
        if results is not None:
            for waiting, result in zip(batch, results, strict=True):
                if not waiting.future.done():
                    waiting.future.set_result(Batched(result, ran_ms, began_s))
        elif len(batch) == 1:
            stream = facts(stream=str(batch[0].stream or ""))
            log.error("stage %s failed on a request", self.name, exc_info=error, extra=stream)
            _fail(
                batch[0], InferenceFailed(f"the {self.name} stage failed on this frame; the server's log has the cause")
            )
        else:
            streams = sorted({str(each.stream or "") for each in batch})
            log.warning(
                "stage %s failed on a batch of %d; each is run alone",
                *(self.name, len(batch)),
                exc_info=error,
                extra=facts(streams=streams),
            )
            self._suspects.extend(batch)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _fail(waiting: _Waiting[Request, Result], error: Exception) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(error)
