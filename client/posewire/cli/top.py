"""`posewire top`: a live view of the streams of a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import grpc
import grpc.aio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from posewire._channels.connections import Connection, Connections
from posewire.cli.access import ServerAccess
from posewire.cli.console import plain_console
from posewire.cli.quantities import quantity
from posewire.errors import CallError
from posewire.v1 import pose_tracking_service_pb2, settings_pb2

__all__ = ["TopJob", "rows", "run_top"]

_TIMEOUT_S = 10.0
_COLUMNS = (
    *("stream", "name", "caller", "open", "size", "fps", "ms", "p95"),
    *("drops", "fails", "people", "ids", "det"),
)
_TEXTS = ("stream", "name", "caller")
# Columns that are left out in a narrow terminal, in this order.
_DISPENSABLE = ("stream", "caller", "size", "det", "open", "ids", "fails")
# Texts are truncated to this length before columns are left out.
_SHORT = 8
_GAP = 2
# Shares of recently dropped frames above which they are shown in yellow and in red.
_SOME, _MANY = 0.01, 0.2

State = pose_tracking_service_pb2.StreamState


@dataclass(frozen=True)
class TopJob:
    """The job of `top`.

    Attributes:
        access: the server.
        every_s: refresh interval.
        once: print one table, and end.
    """

    access: ServerAccess
    every_s: float = 1.0
    once: bool = False


def run_top(job: TopJob) -> None:
    """Show the streams until interrupted.

    Raises:
        CallError: the server does not answer at the beginning; later errors are shown, and it is asked again.
    """
    asyncio.run(_show(job))


async def _show(job: TopJob) -> None:
    console = plain_console()
    connections = job.access.connections()
    try:
        states = await _ask(connections)
        if job.once:
            console.print(_table(states, {}, connections.preferred, console.width))
            return
        with _screen(console) as show, suppress(asyncio.CancelledError):  # Ctrl-C is the only way out
            show(_table(states, {}, connections.preferred, console.width))
            while True:
                before = {each.stream_id: each for each in states}
                await asyncio.sleep(job.every_s)
                try:
                    states = await _ask(connections)
                    show(_table(states, before, connections.preferred, console.width))
                except CallError as error:
                    show(Text(str(error), style="red"))
    finally:
        await connections.aclose()


@contextmanager
def _screen(console: Console) -> Iterator[Callable[[RenderableType], None]]:
    """Shows each refresh in place of the previous one; in a pipe or a file, one below the other."""
    if not console.is_terminal:
        yield lambda look: console.print(look, Text())
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        yield partial(live.update, refresh=True)


async def _ask(connections: Connections) -> Sequence[State]:
    """The streams of all callers if the token permits, else its own."""

    async def ask(server: Connection) -> Sequence[State]:
        try:
            return await _list(server, all_callers=True)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.PERMISSION_DENIED:
                raise
            return await _list(server, all_callers=False)

    return await connections.first_answer(ask, "listing streams")


async def _list(server: Connection, *, all_callers: bool) -> Sequence[State]:
    request = pose_tracking_service_pb2.ListStreamsRequest(all_callers=all_callers)
    response = await server.stub.ListStreams(request, timeout=_TIMEOUT_S, metadata=server.metadata)
    return response.streams


def rows(states: Sequence[State], before: Mapping[str, State]) -> list[list[Text]]:
    """One row per stream, those with the largest share of recent drops first.

    Args:
        states: the current states.
        before: the states at the previous refresh, by stream id.
    """
    ranked = sorted(states, key=lambda state: (-_dropped_lately(state, before.get(state.stream_id)), state.name))
    return [_row(state, before.get(state.stream_id)) for state in ranked]


def _row(state: State, before: State | None) -> list[Text]:
    lately = _dropped_lately(state, before)
    style = "red" if lately > _MANY else "yellow" if lately > _SOME else ""
    share = f" ({lately:.0%})" if lately > _SOME else ""
    policy = "" if state.drop_policy == settings_pb2.DROP_POLICY_LATEST else " all"
    cells = [
        state.stream_id,
        _printable(state.name) + policy,
        _printable(state.caller),
        _duration(state.open_for.seconds),
        f"{state.size.width}x{state.size.height}" if state.size.width else "",
        f"{state.tracked_fps:.1f}",
        f"{state.latency_ms:.0f}",
        f"{state.latency_p95_ms:.0f}",
        f"{state.dropped}{share}",
        str(state.failed),
        str(state.people),
        str(state.identities),
        f"1/{state.detect_every}",
    ]
    return [_cell(text, style if _COLUMNS[column] == "drops" else "") for column, text in enumerate(cells)]


def _cell(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _dropped_lately(state: State, before: State | None) -> float:
    """Share of frames dropped since the previous refresh; at first, since the stream was opened."""
    received = state.received - (before.received if before is not None else 0)
    dropped = state.dropped - (before.dropped if before is not None else 0)
    return dropped / received if received > 0 else 0.0


def _printable(text: str) -> str:
    """The text without control characters, which could manipulate a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _duration(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _table(states: Sequence[State], before: Mapping[str, State], address: str, room: int) -> RenderableType:
    """The table for a terminal that is `room` characters wide."""
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    shown = rows(states, before)
    fitting = _fitting([[_cell(column) for column in _COLUMNS], *shown], room)
    for column in fitting:
        # With little room, Rich narrows the columns that may wrap; their cells are truncated instead of wrapped.
        is_text = _COLUMNS[column] in _TEXTS
        table.add_column(_cell(_COLUMNS[column]), justify="left" if is_text else "right", no_wrap=not is_text)
    for row in shown:
        table.add_row(*(row[column] for column in fitting))
    total = sum(state.tracked_fps for state in states)
    people = quantity(sum(state.people for state in states), "person", "people")
    head = Text(f"{address}: {quantity(len(states), 'stream')}, {total:.1f} frames a second, {people}")
    return Group(head, Text(), table)


def _fitting(rows_and_head: Sequence[Sequence[Text]], room: int) -> list[int]:
    """The columns to show: all, or without the least important ones if even shortened texts do not fit."""
    widths = [max(cell.cell_len for cell in cells) for cells in zip(*rows_and_head, strict=True)]
    least = [min(width, _SHORT) if _COLUMNS[column] in _TEXTS else width for column, width in enumerate(widths)]
    fitting = list(range(len(_COLUMNS)))
    for name in _DISPENSABLE:
        if sum(least[column] + _GAP for column in fitting) <= room:
            break
        fitting.remove(_COLUMNS.index(name))
    return fitting
