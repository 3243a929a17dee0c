"""Networks as CUDA graphs: all kernels for a batch of a fixed size are launched at once.

Launching some hundred small kernels one by one takes the CPU longer than the GPU needs to compute them. A graph holds
all of them, recorded once per batch size; batches are padded to the next size.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from posewire_models.network_outputs import form_of, map_tensors, tensors_of

__all__ = ["GraphedNetwork", "Recorded", "in_parts", "record_graph"]

log = logging.getLogger(__name__)

# Runs before a graph is recorded: in the first ones libraries choose their kernels and allocate their buffers.
_WARM_UP_RUNS = 3

Recorded = tuple[Callable[[], None], Any]
"""A function that repeats a computation in place, and the outputs, which each repetition overwrites."""


class GraphedNetwork:
    """`compute`, recorded for a few batch sizes.

    Called like `compute`, with any number of images, by one thread at a time; later calls do not overwrite its results.
    If graphs cannot be recorded, `compute` runs as it is, after one warning. Graphs of the larger sizes that do not fit
    into the device's memory are left out.

    Args:
        compute: from images `(b, *input_shape)` to tensors whose first axis is the batch. No image's result may depend
            on the others, and nothing in it may wait for the device.
        input_shape: (channels, height, width).
        device: where it runs.
        sizes: batch sizes to record.
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
        # Not an inference tensor, even if this is called in inference mode: it is written to outside of that too.
        with torch.inference_mode(False):
            whole = torch.zeros((max(sizes), *input_shape), device=device)
            self._inputs = whole.contiguous(memory_format=torch.channels_last)
        self._recorded = self._record_all(sorted(sizes, reverse=True), record or record_graph(device))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Batch sizes with a graph, smallest first."""
        return tuple(sorted(self._recorded))

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Any:
        """The result of `compute` for `images` `(b, *input_shape)`."""
        if not self._recorded:
            return self._compute(images)
        return in_parts(self._replay, images, max(self._recorded))

    def _replay(self, images: Tensor) -> Any:
        count = len(images)
        size = min(size for size in self._recorded if size >= count)
        # Rows beyond `count` keep an earlier batch's images, which is harmless.
        self._inputs[:count].copy_(images)
        replay, outputs = self._recorded[size]
        replay()
        return map_tensors(outputs, lambda output: output[:count].clone())

    @torch.inference_mode()
    def _record_all(self, sizes: Sequence[int], record: Callable[[Callable[[], Any]], Recorded]) -> dict[int, Recorded]:
        """Largest first, so that smaller graphs can reuse its memory."""
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
    """A function that records computations as CUDA graphs. They share a memory pool, so only one may run at a time."""
    pool = torch.cuda.graph_pool_handle()
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def record(compute: Callable[[], Any]) -> Recorded:
        graph, tuned = torch.cuda.CUDAGraph(), torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = True
        try:
            # A recording that fails leaves its stream current; this restores the caller's.
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
    """Tell torch that a failed recording is over.

    Until then its allocator does not reuse freed memory, and before version 2.13 its random number generator assumes
    that the device is still recording and lets no graph run. Only a successful recording ends that.
    """
    end = getattr(torch._C, "_cuda_endAllocateToPool", None)
    if end is not None:
        with suppress(RuntimeError):  # already ended
            end(device.index or 0, pool)
    with suppress(RuntimeError):
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with torch.cuda.graph(torch.cuda.CUDAGraph(), stream=stream, capture_error_mode="thread_local"):
            torch.zeros(1, device=device)


def in_parts(compute: Callable[[Tensor], Any], images: Tensor, most: int) -> Any:
    """`compute` for `images`, at most `most` at once."""
    if len(images) <= most:
        return compute(images)
    parts = [compute(part) for part in torch.split(images, most)]
    return form_of(parts[0])([torch.cat(each) for each in zip(*map(tensors_of, parts), strict=True)])
