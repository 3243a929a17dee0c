"""Opens what a stream needs to begin: its source, and its first call."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

from posewire._channels.connections import Connection, Connections
from posewire._streaming.call import TrackCall
from posewire._streaming.plan import StreamPlan, final_settings
from posewire._threads.workers import Workers
from posewire.settings import StreamSettings
from posewire.sources import AsyncSourceLike, Source, open_source
from posewire.sources._awaited import is_asynchronous

__all__ = ["Opened", "open_source_and_call"]


class Opened(NamedTuple):
    """A source, if the stream has one, the first call, and the settings that were requested."""

    source: Source | None
    call: TrackCall
    settings: StreamSettings

    def close(self) -> None:
        """Close both, if no stream will."""
        self.call.cancel()
        if self.source is not None:
            self.source.close()


async def open_source_and_call(plan: StreamPlan, connections: Connections) -> Opened:
    """Open the source, and then the call with the settings that suit it; neither is left open if this does not succeed.

    Raises:
        SourceError: the source cannot be opened.
        InvalidSettings: a setting does not suit the source, or a certificate cannot be read.
        CallError: the server cannot be reached, or refuses the stream.
    """
    source = None if plan.source is None else await _open_in_thread(plan.source, plan)
    try:
        settings = final_settings(plan, source)

        async def open_call(server: Connection) -> TrackCall:
            return await TrackCall.open(server, settings, plan.resume, plan.timeout_s)

        call = await connections.first_answer(open_call, "opening a stream")
    except BaseException:
        if source is not None:
            source.close()
        raise
    return Opened(source, call, settings)


async def _open_in_thread(source: AsyncSourceLike, plan: StreamPlan) -> Source:
    """Open the source in a thread: cameras and addresses may take seconds.

    The thread is its own: the frames of other streams must not wait for a camera that is off.
    """
    open_it = partial(
        open_source,
        source,
        codec=plan.settings.codec,
        max_frames=plan.max_frames,
        reopen_for_s=plan.reopen_for_s,
        options=plan.source_options,
    )
    if is_asynchronous(source):  # it needs this event loop, and takes no time to open
        return open_it()
    opener = Workers("posewire-opener", most=1)
    opening = opener.submit(open_it)
    try:
        return await asyncio.wrap_future(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_source)  # a thread cannot be cancelled; nobody else closes what it opens
        raise
    finally:
        opener.close()


def _close_source(opening: Future[Source]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
