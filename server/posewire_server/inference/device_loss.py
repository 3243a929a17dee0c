"""A GPU that has failed for good, which a server with it cannot survive."""

from __future__ import annotations

import asyncio
import logging

import torch

from posewire_models.inference import is_lost
from posewire_server.inference.batching import BatchReport

__all__ = ["DeviceLoss"]

log = logging.getLogger(__name__)


class DeviceLoss:
    """Looks after every failed batch whether the device is lost.

    Args:
        device: of the networks.

    Attributes:
        noticed: set for good when the device is lost.
    """

    def __init__(self, device: torch.device) -> None:
        self.noticed = asyncio.Event()
        self._device = device

    def batch_done(self, report: BatchReport) -> None:
        """Note that a batch has run, or failed."""
        if report.error is not None and not self.noticed.is_set() and is_lost(self._device):
            log.critical("%s refuses all work of this process", self._device)
            self.noticed.set()
