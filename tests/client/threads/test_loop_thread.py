from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import posewire
from posewire._threads.loop_thread import LoopThread
from posewire._threads.own_thread import OwnThread


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    loop = LoopThread()
    yield loop
    loop.close(nothing())


async def nothing() -> None:
    pass


def nothing_to_end() -> None:
    pass


class Caller(threading.Thread):
    """Calls something that may never return; what it raised is `error`."""

    def __init__(self, call: Callable[[], object]):
        super().__init__(daemon=True)
        self._call = call
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._call()
        except BaseException as error:  # noqa: BLE001 -- the test looks at it
            self.error = error

    def returns(self) -> bool:
        self.join(10)
        return not self.is_alive()


@pytest.mark.usefixtures("no_cycle_collector")
def test_an_error_is_freed_with_its_last_reference(loop: LoopThread) -> None:
    async def fail() -> None:
        raise posewire.MisuseError("closed")

    try:
        loop.run(fail())
    except posewire.MisuseError as error:
        raised = weakref.ref(error)
    loop.run(nothing())  # meanwhile the thread has let go of the error
    assert raised() is None


@pytest.mark.parametrize(
    ("step", "fate"),
    [
        ("shutdown_asyncgens", ["cancelled"]),  # tasks have been cancelled, and the loop runs on for a moment
        ("close", []),  # it will not run any more
    ],
)
def test_work_that_comes_too_late_is_told_so(step: str, fate: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    loop = LoopThread()
    handed_over = threading.Event()
    take_step, hand_over = getattr(loop._loop, step), loop._loop.call_soon_threadsafe
    callers: list[Caller] = []
    met: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            met.append("cancelled")
            raise

    def hand_over_and_tell(callback: Callable[..., object], *arguments: Any, **options: Any) -> object:
        try:
            return hand_over(callback, *arguments, **options)
        finally:
            if threading.current_thread() in callers:
                handed_over.set()

    def step_too_late() -> object:
        callers.append(Caller(lambda: may_call.wait() and loop.run(work())))
        may_call.set()
        assert handed_over.wait(10)
        return take_step()

    may_call = threading.Event()
    # As seen by a thread that checked just before.
    monkeypatch.setattr(LoopThread, "is_running", True)
    monkeypatch.setattr(loop._loop, "call_soon_threadsafe", hand_over_and_tell)
    monkeypatch.setattr(loop._loop, step, step_too_late)
    loop.close(nothing())
    (caller,) = callers
    assert caller.returns()
    assert isinstance(caller.error, posewire.MisuseError)
    assert met == fate


def test_a_closed_loop_refuses_work_and_has_nothing_to_release() -> None:
    loop = LoopThread()
    loop.close(nothing())
    with pytest.raises(posewire.MisuseError, match="closed"):
        loop.run(nothing())
    loop.release(nothing())
    loop.close(nothing())


def test_the_thread_does_not_wait_for_itself(loop: LoopThread) -> None:
    async def call() -> None:
        loop.run(nothing())

    caller = Caller(lambda: loop.run(call()))
    assert caller.returns()
    with pytest.raises(posewire.MisuseError, match="own thread"):
        raise caller.error or AssertionError


@pytest.mark.parametrize("end", [False, True])
def test_a_thread_that_the_loop_may_wait_for_does_not_wait_for_the_loop(loop: LoopThread, end: bool) -> None:
    may_end, ended = threading.Event(), threading.Event()

    async def release() -> None:
        await asyncio.to_thread(may_end.wait)
        ended.set()

    call = loop.close if end else loop.release
    thread = OwnThread(lambda: call(release()), "posewire-source", end=nothing_to_end)
    thread.start()
    thread.join(10)
    try:
        assert not thread.is_alive()
        assert not ended.is_set()
    finally:
        may_end.set()
    assert ended.wait(10)


def test_the_cycle_collector_does_not_wait_for_a_loop_that_may_wait_for_its_thread(loop: LoopThread) -> None:
    lock = threading.Lock()
    released = threading.Event()

    class Garbage:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            loop.release(release())

    async def take_lock() -> None:
        with lock:
            pass

    async def release() -> None:
        released.set()

    def collect() -> None:
        with lock:
            loop._begin(take_lock())
            Garbage()
            gc.collect()

    assert Caller(collect).returns()
    assert released.wait(10)


def test_what_fails_while_nobody_waits_is_logged(loop: LoopThread, caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise OSError("device already gone")

    thread = OwnThread(lambda: loop.release(fail()), "posewire-source", end=nothing_to_end)
    thread.start()
    thread.join()
    loop.run(nothing())
    assert "device already gone" in caplog.text
