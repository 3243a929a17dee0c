"""Log lines about refused calls: enough to see what happens, but limited in number."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from posewire_server.observability.logs import facts
from posewire_server.wire.peers import host_of

__all__ = ["RefusalLog"]

log = logging.getLogger(__name__)

# A host's first refusal is logged at once, then one per this many seconds, with the number of those not logged.
_LINE_EVERY_S = 10.0
# Hosts beyond this number share one line.
_MOST_HOSTS = 100
_OTHERS = "others"
# The caller chooses the method's name.
_LONGEST_METHOD = 100


@dataclass
class _Host:
    """A host whose calls were refused.

    Attributes:
        logged_s: time of its last line.
        unlogged: number of calls refused since.
    """

    logged_s: float
    unlogged: int = 0


class RefusalLog:
    """Logs a limited number of refusals.

    Args:
        clock: seconds; a test's own.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hosts: dict[str, _Host] = {}

    def __len__(self) -> int:
        """Number of hosts that are remembered."""
        return len(self._hosts)

    def refused(self, method: str, peer: str, error: Exception) -> None:
        """Log a refused call, if its host has had no line for a while.

        Args:
            method: that was called.
            peer: origin of the call in gRPC's form: `ipv4:HOST:PORT`.
            error: why it was refused.
        """
        now, name = self._clock(), host_of(peer)
        if name not in self._hosts:
            self._forget(now)
            if len(self._hosts) >= _MOST_HOSTS:
                name = _OTHERS
        host = self._hosts.get(name)
        if host is not None and now - host.logged_s < _LINE_EVERY_S:
            host.unlogged += 1
            return
        unlogged = {"unlogged": host.unlogged} if host is not None and host.unlogged else {}
        self._hosts[name] = _Host(now)
        log.warning(
            "call refused: %s", error, extra=facts(method=method[:_LONGEST_METHOD], peer=peer, host=name, **unlogged)
        )

    def _forget(self, now: float) -> None:
        """Forget hosts that have had no line for a while, after logging how many of their refusals were not logged."""
        for name, host in list(self._hosts.items()):
            if now - host.logged_s >= _LINE_EVERY_S:
                del self._hosts[name]
                if host.unlogged:
                    log.warning("calls refused", extra=facts(host=name, unlogged=host.unlogged))
