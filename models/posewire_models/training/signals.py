"""Stopping a run by a signal, with a checkpoint."""

from __future__ import annotations

import logging
import os
import signal
from types import FrameType

__all__ = ["StopSignals"]

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_log = logging.getLogger(__name__)


class StopSignals:
    """`stop` of `train`: true after SIGINT (Ctrl-C), SIGTERM or SIGHUP. To be entered in the main thread.

    SIGHUP comes from a closed terminal; if it is ignored, as under nohup, it stays ignored.

    A second signal has its default action and ends the program at once. Not so under `torchrun`, which forwards each
    signal to processes that may have received it already; processes that take too long are killed there.

    Attributes:
        received: number of the signal received, 0 before.
    """

    def __init__(self) -> None:
        self.received = 0
        # A program started in the background may be set to ignore Ctrl-C.
        heeded = [one for one in _STOPPING if signal.getsignal(one) is not signal.SIG_IGN]
        self._before = {one: signal.getsignal(one) for one in heeded}

    def __call__(self, step: int) -> bool:
        """Whether to stop."""
        return self.received != 0

    def __enter__(self) -> StopSignals:
        for one in self._before:
            signal.signal(one, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            self.__exit__()
        _log.warning("%s: the run stops after a step, with a checkpoint", signal.Signals(number).name)
