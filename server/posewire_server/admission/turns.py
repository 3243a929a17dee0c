"""The steps of a frame. Before each, its stream may have to wait for its turn, see `Standing.turn`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TypeAlias

__all__ = ["Step", "Turn", "at_once"]


class Step(StrEnum):
    """A part of a frame's processing that cannot be interrupted."""

    DECODE = "decode"
    LOOK = "look"
    """Detector and flow."""
    POSE = "pose"


Turn: TypeAlias = Callable[[Step], Awaitable[None]]
"""Awaited before each step of a frame."""


async def at_once(_step: Step) -> None:
    """The turn of a stream that never waits."""
