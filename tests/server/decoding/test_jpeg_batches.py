from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from posewire_server.decoding.jpeg_batches import JpegBatches


class Decoder:
    """Gives each picture's bytes back; refuses whole batches with `bad` in them. Waits while the gate is shut."""

    def __init__(self) -> None:
        self.calls: list[list[bytes]] = []
        self.reached = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, pictures: Sequence[bytes]) -> list[Tensor]:
        self.calls.append(list(pictures))
        self.reached.release()
        assert self.gate.wait(30)
        if b"bad" in pictures:
            raise RuntimeError("Error while decoding JPEG images")
        return [torch.tensor(list(picture)) for picture in pictures]


@pytest.fixture
def decoder() -> Decoder:
    return Decoder()


@pytest.fixture
def batches(decoder: Decoder) -> Iterator[JpegBatches]:
    batches = JpegBatches(decoder, max_batch=4)
    yield batches
    batches.close()


def until(happened: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if happened():
            return
        threading.Event().wait(0.001)
    raise AssertionError("it did not happen")


def waiting(batches: JpegBatches, count: int) -> None:
    """Until so many pictures are in the queue."""
    until(lambda: batches._waiting.qsize() >= count)


def test_a_lone_picture_is_decoded_at_once(batches: JpegBatches) -> None:
    pixels = batches.decode(b"\x01\x02")
    assert pixels is not None
    assert pixels.tolist() == [1, 2]


def test_what_comes_while_one_call_runs_goes_into_the_next(decoder: Decoder, batches: JpegBatches) -> None:
    decoder.gate.clear()
    with ThreadPoolExecutor(7) as threads:
        first = threads.submit(batches.decode, b"\x00")
        decoder.reached.acquire()
        rest = [threads.submit(batches.decode, bytes([number])) for number in range(1, 7)]
        waiting(batches, 6)
        decoder.gate.set()
        assert [one.result().tolist() for one in (first, *rest)] == [[number] for number in range(7)]  # type: ignore[union-attr]
    assert [len(call) for call in decoder.calls] == [1, 4, 2]


def test_only_the_guilty_picture_is_refused(decoder: Decoder, batches: JpegBatches) -> None:
    decoder.gate.clear()
    with ThreadPoolExecutor(4) as threads:
        threads.submit(batches.decode, b"\x00")
        decoder.reached.acquire()
        found = {data: threads.submit(batches.decode, data) for data in (b"\x01", b"bad", b"\x02")}
        waiting(batches, 3)
        decoder.gate.set()
        assert found[b"bad"].result() is None
        assert [found[data].result().tolist() for data in (b"\x01", b"\x02")] == [[1], [2]]  # type: ignore[union-attr]


def test_nobody_waits_for_one_that_is_closed(decoder: Decoder, batches: JpegBatches) -> None:
    decoder.gate.clear()
    with ThreadPoolExecutor(3) as threads:
        running = threads.submit(batches.decode, b"\x00")
        decoder.reached.acquire()
        late = threads.submit(batches.decode, b"\x01")
        waiting(batches, 1)
        closing = threads.submit(batches.close)
        waiting(batches, 2)
        decoder.gate.set()
        closing.result()
        assert running.result() is not None
        late.result()  # decoded or refused, but answered
    assert batches.decode(b"\x02") is None


def test_while_it_waits_it_keeps_no_pixels(batches: JpegBatches) -> None:
    pixels = batches.decode(b"picture")
    assert pixels is not None
    kept = weakref.ref(pixels)
    del pixels
    until(lambda: kept() is None)
