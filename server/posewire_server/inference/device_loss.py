"""A GPU that has failed for good, which a server with it cannot survive."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import traceback

import torch

from posewire_models.inference import is_lost
from posewire_models.specs import TENSORRT_VARIABLE
from posewire_server.inference.batching import BatchReport
from posewire_server.observability.logs import facts
from posewire_server.workers import threads_at_work

__all__ = ["DeviceLoss"]

log = logging.getLogger(__name__)

# How long a call may take. A batch takes well below a second, but TensorRT builds an engine for a new batch size.
_LONGEST_CALL_S, _LONGEST_WITH_TENSORRT_S = 120, 1800
_SECOND_S = 1.0


class DeviceLoss:
    """Notices that the device refuses all work, or that a call to it does not return.

    Args:
        device: of the networks.

    Attributes:
        noticed: set for good when the device is lost.
        reason: what is wrong with it then.
    """

    def __init__(self, device: torch.device) -> None:
        self.noticed = asyncio.Event()
        self.reason = ""
        self._device = device
        self._seconds: dict[tuple[threading.Thread, int], int] = {}  # by call, see `threads_at_work`
        with_tensorrt = os.environ.get(TENSORRT_VARIABLE) == "1"
        self._longest_call_s = _LONGEST_WITH_TENSORRT_S if with_tensorrt else _LONGEST_CALL_S

    def batch_done(self, report: BatchReport) -> None:
        """Note that a batch has run, or failed; after a failure, look whether the device is lost."""
        if report.error is not None and not self.noticed.is_set() and is_lost(self._device):
            log.critical("%s refuses all work of this process", self._device)
            self._notice("has failed, and refuses all work of this process")

    async def watch(self) -> None:
        """Look every second whether a thread is stuck in a call. On a CPU calls may take as long as they like."""
        while self._device.type != "cpu" and not self.noticed.is_set():
            await asyncio.sleep(_SECOND_S)
            self.second_passed()

    def second_passed(self) -> None:
        """Count one second more of each call that has not returned.

        These are seconds that the event loop lived through: while the process, or the machine, is suspended or starved,
        no call can be expected to return.
        """
        self._seconds = {call: self._seconds.get(call, 0) + 1 for call in threads_at_work()}
        for (thread, _), seconds in self._seconds.items():
            if seconds > self._longest_call_s:
                log.critical(
                    "%s hangs: a call on thread %s has not returned for %d s",
                    *(self._device, thread.name, self._longest_call_s),
                    extra=facts(stack=_stack(thread)),
                )
                self._notice(f"hangs: a call has not returned for {self._longest_call_s} s")

    def _notice(self, reason: str) -> None:
        self.reason = reason
        self.noticed.set()


def _stack(thread: threading.Thread) -> str:
    """Where a thread is."""
    frame = sys._current_frames().get(thread.ident or 0)
    return "".join(traceback.format_stack(frame)) if frame is not None else ""
