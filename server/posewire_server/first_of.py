"""Waiting for whichever comes first, as for work, or for the signal to stop it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

__all__ = ["first_of"]


async def first_of(*awaited: Awaitable[Any]) -> None:
    """Return when one of them has ended, in whatever way; the others are cancelled."""
    futures = [asyncio.ensure_future(each) for each in awaited]
    try:
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in futures:
            each.cancel()
