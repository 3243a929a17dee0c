"""Health of each network, by the standard health service: does it work?"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from grpc_health.v1 import health, health_pb2

from posewire_server.batching import BatchReport

__all__ = ["HEALTH_NAMES", "StageHealth"]

log = logging.getLogger(__name__)

HEALTH_NAMES = {"detect": "detector", "flow": "flow", "pose": "pose"}
"""Stage to name."""

# One frame that no network can take makes one failure, or two with its batch; so many in a row are the network's own.
_FAILURES_IN_A_ROW = 10


class StageHealth:
    """Says NOT_SERVING for a network that fails again and again, and SERVING when it has worked once more.

    The server as a whole stays SERVING: were traffic to be led away, nothing would show that the network works again.

    Args:
        servicer: that is asked.
    """

    def __init__(self, servicer: health.aio.HealthServicer) -> None:
        self._servicer = servicer
        self._failures: Counter[str] = Counter()
        self._changes: set[asyncio.Task[None]] = set()

    def batch_done(self, report: BatchReport) -> None:
        """A batch went through its network, or failed in it."""
        before = self._failures[report.stage]
        self._failures[report.stage] = before + 1 if report.error is not None else 0
        if self._failures[report.stage] == _FAILURES_IN_A_ROW:
            log.error("stage %s has failed %d times in a row", report.stage, _FAILURES_IN_A_ROW)
            self._say(report.stage, health_pb2.HealthCheckResponse.NOT_SERVING)
        elif before >= _FAILURES_IN_A_ROW and report.error is None:
            log.info("stage %s works again", report.stage)
            self._say(report.stage, health_pb2.HealthCheckResponse.SERVING)

    def _say(self, stage: str, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        change = asyncio.ensure_future(self._servicer.set(HEALTH_NAMES[stage], status))
        self._changes.add(change)  # the loop itself would forget it
        change.add_done_callback(self._changes.discard)
