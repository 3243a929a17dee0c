"""Health of the server and of each network, by the standard health service: does it work?"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2

from posewire_server.counting import counted
from posewire_server.errors import LimitReached, Stalled
from posewire_server.inference.batching import BatchReport
from posewire_server.wire.peers import host_of

__all__ = ["HEALTH_NAMES", "HealthService", "StageHealth"]

log = logging.getLogger(__name__)

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Status: TypeAlias = health_pb2.HealthCheckResponse.ServingStatus

HEALTH_NAMES = {"detect": "detector", "flow": "flow", "pose": "pose"}
"""Stage to name."""

# One frame that no network can take makes one failure, or two with its batch; so many in a row are the network's own.
_FAILURES_IN_A_ROW = 10
# Nobody needs a token for a watch. One host leaves half of them to others.
_MOST_WATCHES = 64
_STALL_S = 30.0


class HealthService:
    """The servicer of grpc.health.v1.

    Each watch writes by itself, so that one that nobody reads holds up nobody else; gRPC's own servicer waits for it.
    What it missed meanwhile it is not told any more, only how things are then.
    """

    def __init__(self) -> None:
        self._statuses: dict[str, _Status] = {}
        self._changed = asyncio.Event()
        self._is_shutting_down = False
        self._watches: Counter[str] = Counter()  # of each host

    def set(self, service: str, status: _Status) -> None:
        """Say how `service` is; once the server shuts down, nothing changes any more."""
        if not self._is_shutting_down:
            self._statuses[service] = status
            self._tell_of_change()

    def enter_graceful_shutdown(self) -> None:
        """Say NOT_SERVING of every service from now on."""
        self._is_shutting_down = True
        self._statuses = dict.fromkeys(self._statuses, health_pb2.HealthCheckResponse.NOT_SERVING)
        self._tell_of_change()

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: _Context
    ) -> health_pb2.HealthCheckResponse:
        """The status of a service; NOT_FOUND if there is none of that name."""
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no service of this name has a health here")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: _Context) -> None:  # noqa: N802
        """The status of a service, and then each change of it; SERVICE_UNKNOWN while there is none of that name.

        Raises:
            LimitReached: too many watches are open.
            Stalled: the client does not read.
        """
        host = host_of(context.peer())
        if self._watches.total() >= _MOST_WATCHES or self._watches[host] >= _MOST_WATCHES // 2:
            raise LimitReached(
                f"{self._watches.total()} watches of the health are open, {self._watches[host]} of them from here; a "
                f"server takes {_MOST_WATCHES}, and half of them from one host: close one, or ask by Check"
            )
        with counted(self._watches, host):
            await context.send_initial_metadata(())  # else the end of one that is never read could not be told either
            await self._tell(request.service, context)

    async def List(self, request: Any, context: _Context) -> Any:  # noqa: N802
        """All services with their statuses. Versions of `grpc_health` before 1.72 do not know of it, and never ask."""
        messages: Any = health_pb2
        statuses = {name: health_pb2.HealthCheckResponse(status=status) for name, status in self._statuses.items()}
        return messages.HealthListResponse(statuses=statuses)

    async def _tell(self, service: str, context: _Context) -> None:
        told = None
        while True:
            changed, status = self._changed, self._statuses.get(service, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
            if status == told:
                await changed.wait()
                continue
            try:
                async with asyncio.timeout(_STALL_S):
                    await context.write(health_pb2.HealthCheckResponse(status=status))
            except TimeoutError:
                raise Stalled(f"a change of the health was not read for {_STALL_S:g} s: read what you watch") from None
            told = status

    def _tell_of_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class StageHealth:
    """Says NOT_SERVING for a network that fails again and again, and SERVING when it has worked once more.

    The server as a whole stays SERVING: were traffic to be led away, nothing would show that the network works again.

    Args:
        service: that is asked.
    """

    def __init__(self, service: HealthService) -> None:
        self._service = service
        self._failures: Counter[str] = Counter()

    def batch_done(self, report: BatchReport) -> None:
        """A batch went through its network, or failed in it."""
        before = self._failures[report.stage]
        self._failures[report.stage] = before + 1 if report.error is not None else 0
        if self._failures[report.stage] == _FAILURES_IN_A_ROW:
            log.error("stage %s has failed %d times in a row", report.stage, _FAILURES_IN_A_ROW)
            self._service.set(HEALTH_NAMES[report.stage], health_pb2.HealthCheckResponse.NOT_SERVING)
        elif before >= _FAILURES_IN_A_ROW and report.error is None:
            log.info("stage %s works again", report.stage)
            self._service.set(HEALTH_NAMES[report.stage], health_pb2.HealthCheckResponse.SERVING)
