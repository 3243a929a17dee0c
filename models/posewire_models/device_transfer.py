"""Transfers between the CPU and an accelerator: frames and small tables up, results down, and a stream per lane.

Only `to_host`, which returns results to the caller, waits for anything. On a CPU all of this is free: tensors are
passed through as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from posewire.array_types import Image

__all__ = ["Uploaded", "is_on_cpu", "own_stream", "to_device", "to_host", "upload"]


class Uploaded:
    """A tensor on an accelerator, to be used by streams other than the one that fills it.

    Args:
        tensor: complete once `ready` has happened.
        ready: None if it is complete already.
    """

    def __init__(self, tensor: Tensor, ready: torch.cuda.Event | None = None) -> None:
        self.tensor = tensor
        self._ready = ready

    def here(self) -> Tensor:
        """The tensor, for work that is enqueued on the caller's stream from now on."""
        if self.tensor.device.type == "cuda":
            stream = torch.cuda.current_stream(self.tensor.device)
            if self._ready is not None:
                stream.wait_event(self._ready)
            # Its memory is not reused before this stream has reached this point too.
            self.tensor.record_stream(stream)
        return self.tensor


def upload(pixels: Image, device: torch.device) -> Uploaded:
    """Start copying a frame to a CUDA device, on a stream used only for copies; the caller does not wait for it.

    The copy is made from page-locked memory, without which it would not overlap with other work. That memory comes from
    torch's pool, which reuses it when the copy is done: the pool grows to the most copies ever in flight.
    """
    staging = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=True)
    staging.copy_(torch.from_numpy(np.require(pixels, requirements=["C", "W"])))
    stream = _copy_stream(device)
    with torch.cuda.stream(stream):
        tensor = staging.to(device, non_blocking=True)
        ready = stream.record_event()
    return Uploaded(tensor, ready)


def is_on_cpu(tensor: Tensor) -> bool:
    """Whether OpenCV and the CPU's own kernels may work on it."""
    return tensor.device.type == "cpu"


def to_device(table: Tensor, device: torch.device) -> Tensor:
    """A small CPU tensor on `device`, for the caller's stream; the caller does not wait for the copy."""
    return table if device.type != "cuda" else table.pin_memory().to(device, non_blocking=True)


def to_host(results: Tensor) -> Tensor:
    """`results` on the CPU, complete: the only place where the CPU waits for an accelerator."""
    if results.device.type != "cuda":
        return results.cpu()
    host = torch.empty(results.shape, dtype=results.dtype, pin_memory=True)
    host.copy_(results, non_blocking=True)
    # By an event, because torch's check for unintended waits ignores those.
    torch.cuda.current_stream(results.device).record_event().synchronize()
    return host


def own_stream(device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    """A context for work on `device` that may overlap with other work there: a CUDA stream of its own."""
    if device.type != "cuda":
        return nullcontext
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return lambda: torch.cuda.stream(stream)


@functools.cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
