"""Health of the server and of each network, through the standard gRPC health service."""

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
"""Stage to service name."""

# A frame that no network can process causes one failure, or two with its batch. This many in a row mean that the
# network itself fails.
_FAILURES_IN_A_ROW = 10
# Watches need no token. One host may have at most half of them.
_MOST_WATCHES = 64
_STALL_S = 30.0


class HealthService:
    """The servicer of grpc.health.v1.

    Each watch writes independently, so that a client that does not read delays no other; gRPC's own servicer waits for
    it. Such a client then gets the current status only, not the changes it missed.
    """

    def __init__(self) -> None:
        self._statuses: dict[str, _Status] = {}
        self._changed = asyncio.Event()
        self._is_shutting_down = False
        self._watches: Counter[str] = Counter()  # per host

    def set(self, service: str, status: _Status) -> None:
        """Set the status of `service`. No effect once the server is shutting down."""
        if not self._is_shutting_down:
            self._statuses[service] = status
            self._tell_of_change()

    def enter_graceful_shutdown(self) -> None:
        """Set every service to NOT_SERVING for good."""
        self._is_shutting_down = True
        self._statuses = dict.fromkeys(self._statuses, health_pb2.HealthCheckResponse.NOT_SERVING)
        self._tell_of_change()

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: _Context
    ) -> health_pb2.HealthCheckResponse:
        """The status of a service; NOT_FOUND if it does not exist."""
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no service of this name")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: _Context) -> None:  # noqa: N802
        """The status of a service, then each change; SERVICE_UNKNOWN while it does not exist.

        Raises:
            LimitReached: too many watches are open.
            Stalled: the client does not read.
        """
        host = host_of(context.peer())
        if self._watches.total() >= _MOST_WATCHES or self._watches[host] >= _MOST_WATCHES // 2:
            raise LimitReached(
                f"{self._watches.total()} health watches are open, {self._watches[host]} of them from your host; the "
                f"limit is {_MOST_WATCHES}, and half of that for one host: close one, or use Check"
            )
        with counted(self._watches, host):
            await context.send_initial_metadata(())  # else a client that never reads would not learn of the end
            await self._tell(request.service, context)

    async def List(self, request: Any, context: _Context) -> Any:  # noqa: N802
        """All services with their statuses. Not called by versions of `grpc_health` before 1.72, which lack it."""
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
                raise Stalled(f"a health status was not read for {_STALL_S:g} s: read the responses") from None
            told = status

    def _tell_of_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class StageHealth:
    """Sets a network that fails repeatedly to NOT_SERVING, and back to SERVING once it has worked again.

    The server as a whole stays SERVING: without traffic, nothing would show that the network works again.

    Args:
        service: the health service.
    """

    def __init__(self, service: HealthService) -> None:
        self._service = service
        self._failures: Counter[str] = Counter()

    def batch_done(self, report: BatchReport) -> None:
        """Note that a batch has passed through its network, or failed in it."""
        before = self._failures[report.stage]
        self._failures[report.stage] = before + 1 if report.error is not None else 0
        if self._failures[report.stage] == _FAILURES_IN_A_ROW:
            log.error("stage %s has failed %d times in a row", report.stage, _FAILURES_IN_A_ROW)
            self._service.set(HEALTH_NAMES[report.stage], health_pb2.HealthCheckResponse.NOT_SERVING)
        elif before >= _FAILURES_IN_A_ROW and report.error is None:
            log.info("stage %s works again", report.stage)
            self._service.set(HEALTH_NAMES[report.stage], health_pb2.HealthCheckResponse.SERVING)
