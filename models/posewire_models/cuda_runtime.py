"""Networks on a CUDA device as graphs: everything for a batch of a fixed size is launched at once.

A network of some hundred small kernels takes the CPU longer to launch, one by one, than the GPU to compute. A graph
holds all of them, recorded once for each batch size; a batch is filled up to the next size.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

__all__ = ["GraphedNetwork", "Recorded", "in_parts", "map_tensors", "record_graph"]

log = logging.getLogger(__name__)

# Runs before a graph is recorded: libraries choose their kernels in the first ones and allocate what they keep.
_WARM_UP_RUNS = 3

Recorded = tuple[Callable[[], None], Any]
"""What repeats a computation in place, and its outputs, which are overwritten by each repetition."""


class GraphedNetwork:
    """`compute`, recorded for a few batch sizes.

    It is called as `compute` is, with any number of images, by one thread at a time, and its results stay what they are
    when it is called again. Where a graph cannot be recorded, `compute` runs as it is, after one warning. Graphs of the
    larger sizes that do not fit into the device's memory are left out.

    Args:
        compute: from images `(b, *input_shape)` to tensors whose first axis is the batch. No image's result depends on
            the others, and nothing in it waits for the device.
        input_shape: (channels, height, width).
        device: where it runs.
        sizes: of the batches.
        record: makes a computation repeatable; by default as a CUDA graph.
    """

    def __init__(
        self,
        compute: Callable[[Tensor], Any],
        input_shape: tuple[int, int, int],
        device: torch.device,
        sizes: Sequence[int],
        record: Callable[[Callable[[], Any]], Recorded] | None = None,
    ) -> None:
        self._compute = compute
        # An ordinary tensor, also where this is called in inference mode: it is written to wherever it is used.
        with torch.inference_mode(False):
            whole = torch.zeros((max(sizes), *input_shape), device=device)
            self._inputs = whole.contiguous(memory_format=torch.channels_last)
        self._recorded = self._record_all(sorted(sizes, reverse=True), record or record_graph(device))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Batch sizes that have a graph, smallest first."""
        return tuple(sorted(self._recorded))

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Any:
        """What `compute` gives for `images` `(b, *input_shape)`."""
        if not self._recorded:
            return self._compute(images)
        return in_parts(self._replay, images, max(self._recorded))

    def _replay(self, images: Tensor) -> Any:
        count = len(images)
        size = min(size for size in self._recorded if size >= count)
        # Rows beyond them keep what an earlier batch left there, which harms nobody.
        self._inputs[:count].copy_(images)
        replay, outputs = self._recorded[size]
        replay()
        return map_tensors(outputs, lambda output: output[:count].clone())

    @torch.inference_mode()
    def _record_all(self, sizes: Sequence[int], record: Callable[[Callable[[], Any]], Recorded]) -> dict[int, Recorded]:
        """Largest first: the smaller graphs then find room in the memory that it has taken."""
        recorded: dict[int, Recorded] = {}
        for size in sizes:
            inputs = self._inputs[:size]
            try:
                recorded[size] = record(lambda inputs=inputs: self._compute(inputs))  # type: ignore[misc]
            except torch.OutOfMemoryError:
                log.warning("no memory on the device for batches of %d; smaller ones are taken", size)
            except RuntimeError as error:
                log.warning("networks run without CUDA graphs, which is slower: %s", error)
                return {}
        return recorded


def record_graph(device: torch.device) -> Callable[[Callable[[], Any]], Recorded]:
    """Makes computations repeatable as CUDA graphs that share one pool of memory, so that one may run at a time."""
    pool = torch.cuda.graph_pool_handle()
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def record(compute: Callable[[], Any]) -> Recorded:
        graph, tuned = torch.cuda.CUDAGraph(), torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = True
        try:
            # A recording that fails leaves its stream as the current one; this brings the caller's back.
            with torch.cuda.stream(torch.cuda.current_stream(device)):
                stream.wait_stream(torch.cuda.current_stream(device))
                with torch.cuda.stream(stream):
                    for _ in range(_WARM_UP_RUNS):
                        compute()
                stream.synchronize()
                # Other threads may use the device meanwhile.
                with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                    outputs = compute()
        except RuntimeError:
            _end_recording(device, pool)
            raise
        finally:
            torch.backends.cudnn.benchmark = tuned
        return graph.replay, outputs

    return record


def _end_recording(device: torch.device, pool: Any) -> None:
    """Tell torch that a recording which failed is over.

    Until then its allocator keeps freed memory back; and before version 2.13 its generator of random numbers takes the
    device to be recording, and lets no graph run. Only a recording that succeeds ends that.
    """
    end = getattr(torch._C, "_cuda_endAllocateToPool", None)
    if end is not None:
        with suppress(RuntimeError):  # it knows already
            end(device.index or 0, pool)
    with suppress(RuntimeError):
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with torch.cuda.graph(torch.cuda.CUDAGraph(), stream=stream, capture_error_mode="thread_local"):
            torch.zeros(1, device=device)


def in_parts(compute: Callable[[Tensor], Any], images: Tensor, most: int) -> Any:
    """`compute` for `images`, of which it takes at most so many at once."""
    if len(images) <= most:
        return compute(images)
    parts = [compute(part) for part in torch.split(images, most)]
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    return _rebuilt(parts[0], [torch.cat(each) for each in zip(*parts, strict=True)])


def map_tensors(outputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """`outputs`, one tensor, a tuple or a named tuple of them, with each tensor changed."""
    if isinstance(outputs, Tensor):
        return change(outputs)
    return _rebuilt(outputs, [change(output) for output in outputs])


def _rebuilt(example: tuple[Tensor, ...], tensors: list[Tensor]) -> Any:
    make: Callable[[list[Tensor]], Any] = getattr(type(example), "_make", type(example))
    return make(tensors)
