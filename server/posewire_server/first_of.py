"""Waiting for whichever comes first, as for work, or for the signal to stop it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

__all__ = ["first_of", "one_ended"]


async def one_ended(*futures: asyncio.Future[Any]) -> None:
    """Return when one of them has ended, in whatever way. If this is cancelled, they are not.

    Not `asyncio.wait`: from Python 3.14 on, it keeps the task in which it was cancelled, and so all that belongs to a
    stream, until Python's cycle collector runs.
    """
    ended = asyncio.Event()

    def end(_: asyncio.Future[Any]) -> None:
        ended.set()

    for each in futures:
        each.add_done_callback(end)
    try:
        await ended.wait()
    finally:
        for each in futures:
            each.remove_done_callback(end)


async def first_of(*awaited: Awaitable[Any]) -> None:
    """Return when one of them has ended, in whatever way; the others are cancelled."""
    futures = [asyncio.ensure_future(each) for each in awaited]
    try:
        await one_ended(*futures)
    finally:
        for each in futures:
            each.cancel()
