"""Refused calls: all are counted, and enough are logged to see what happens, but a limited number."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from posewire_server.errors import ServerDraining, ServiceError
from posewire_server.observability.logs import facts
from posewire_server.wire.status import error_reason

__all__ = ["Refusals"]

log = logging.getLogger(__name__)

# A caller's first refusal is logged at once, then one per this many seconds, with the number of those not logged.
_LINE_EVERY_S = 10.0
# Callers beyond this number share one line.
_MOST_CALLERS = 100
_OTHERS = "others"
# The caller chooses the method's name, and errors repeat what it sent.
_LONGEST_METHOD, _LONGEST_ERROR = 100, 400


@dataclass
class _Caller:
    """A caller whose calls were refused.

    Attributes:
        logged_s: time of its last line.
        unlogged: number of calls refused since.
    """

    logged_s: float
    unlogged: int = 0


class Refusals:
    """Counts refused calls, and logs a limited number of them.

    Args:
        count: called with the reason of each.
        clock: seconds; a test's own.
    """

    def __init__(self, count: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._clock = clock
        self._callers: dict[str, _Caller] = {}

    def __len__(self) -> int:
        """Number of callers that are remembered."""
        return len(self._callers)

    def refused(self, method: str, peer: str, who: str, error: ServiceError) -> None:
        """Count a refused call, and log it if its caller has had no line for a while.

        Args:
            method: that was called.
            peer: origin of the call in gRPC's form: `ipv4:HOST:PORT`.
            who: called, see `caller_key`.
            error: why it was refused.
        """
        self._count(error_reason(error))
        if isinstance(error, ServerDraining):  # as expected, and there is a line about the drain
            return
        now, name = self._clock(), who
        if name not in self._callers:
            self._forget(now)
            if len(self._callers) >= _MOST_CALLERS:
                name = _OTHERS
        caller = self._callers.get(name)
        if caller is not None and now - caller.logged_s < _LINE_EVERY_S:
            caller.unlogged += 1
            return
        unlogged = {"unlogged": caller.unlogged} if caller is not None and caller.unlogged else {}
        self._callers[name] = _Caller(now)
        about = facts(
            error=str(error)[:_LONGEST_ERROR], method=method[:_LONGEST_METHOD], peer=peer, caller=name, **unlogged
        )
        log.warning("call refused", extra=about)

    def _forget(self, now: float) -> None:
        """Forget callers without a line for a while, after logging how many of their refusals were not logged."""
        for name, caller in list(self._callers.items()):
            if now - caller.logged_s >= _LINE_EVERY_S:
                del self._callers[name]
                if caller.unlogged:
                    log.warning("calls refused", extra=facts(caller=name, unlogged=caller.unlogged))
