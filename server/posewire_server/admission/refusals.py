"""Log lines about calls that are refused: enough to see what happens, however many calls there are."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from posewire_server.observability.logs import facts
from posewire_server.wire.peers import host_of

__all__ = ["RefusalLog"]

log = logging.getLogger(__name__)

# A host has a line at once, and then one in so many seconds, with the number of those that had none.
_LINE_EVERY_S = 10.0
# Beyond so many hosts, the others have one line together.
_MOST_HOSTS = 100
_OTHERS = "others"
# The caller chooses it.
_LONGEST_METHOD = 100


@dataclass
class _Host:
    """One that calls were refused to.

    Attributes:
        logged_s: when it had its last line.
        unlogged: calls refused since.
    """

    logged_s: float
    unlogged: int = 0


class RefusalLog:
    """Logs refusals, not all of them.

    Args:
        clock: seconds; a test's own.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hosts: dict[str, _Host] = {}

    def __len__(self) -> int:
        """Of how many hosts anything is remembered."""
        return len(self._hosts)

    def refused(self, method: str, peer: str, error: Exception) -> None:
        """A call was refused.

        Args:
            method: that was called.
            peer: where the call came from, as gRPC puts it: `ipv4:HOST:PORT`.
            error: why.
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
        """Those who have had no line for a while are as good as unknown, once they have had all that is theirs."""
        for name, host in list(self._hosts.items()):
            if now - host.logged_s >= _LINE_EVERY_S:
                del self._hosts[name]
                if host.unlogged:
                    log.warning("calls refused", extra=facts(host=name, unlogged=host.unlogged))
