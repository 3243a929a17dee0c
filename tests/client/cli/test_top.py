"""`posewire top`."""

from __future__ import annotations

import io
from contextlib import nullcontext
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import duration_pb2
from rich.console import Console
from typer.testing import CliRunner

from posewire.cli import top
from posewire.cli.access import ServerAccess
from posewire.cli.application import app
from posewire.cli.top import TopJob, _table, rows
from posewire.errors import ConnectionFailed
from posewire.v1 import pose_pb2, pose_tracking_service_pb2, settings_pb2
from posewire.v1.pose_tracking_service_pb2_grpc import (
    PoseTrackingServiceServicer,
    add_PoseTrackingServiceServicer_to_server,
)
from tests.server.serving import serving
from tests.server.stand_ins import networks

State = pose_tracking_service_pb2.StreamState


def _state(stream_id: str = "abc", **changes: object) -> State:
    values: dict[str, object] = {
        "name": "door", "caller": "yard", "open_for": duration_pb2.Duration(seconds=3723), "received": 100,
        "tracked": 90, "dropped": 10, "identities": 7, "people": 3, "detect_every": 2, "tracked_fps": 24.96,
        "latency_ms": 41.7, "latency_p95_ms": 80.2, "size": pose_pb2.FrameSize(width=640, height=480),
        "drop_policy": settings_pb2.DROP_POLICY_LATEST,
    }  # fmt: skip
    return State(stream_id=stream_id, **(values | changes))  # type: ignore[arg-type]


def test_a_row() -> None:
    ((*cells,),) = rows([_state()], {})
    shown = [cell.plain for cell in cells]
    assert shown == ["abc", "door", "yard", "1:02:03", "640x480", "25.0", "42", "80", "10 (10%)", "0", "3", "7", "1/2"]


def test_a_row_of_a_stream_that_has_just_begun() -> None:
    begun = _state(
        open_for=duration_pb2.Duration(seconds=65), received=0, tracked=0, dropped=0, size=None,
        drop_policy=settings_pb2.DROP_POLICY_ALL,
    )  # fmt: skip
    ((_, name, _, open_for, size, *_),) = rows([begun], {})
    assert [cell.plain for cell in (name, open_for, size)] == ["door all", "1:05", ""]


@pytest.mark.parametrize(
    ("dropped", "shown"),
    [(1, ("1", "")), (2, ("2 (2%)", "yellow")), (20, ("20 (20%)", "yellow")), (21, ("21 (21%)", "red"))],
)
def test_drops_are_marked_by_their_share(dropped: int, shown: tuple[str, str]) -> None:
    ((*_, drops, _, _, _, _),) = rows([_state(dropped=dropped)], {})
    assert (drops.plain, drops.style) == shown


def test_streams_that_fare_alike_are_in_the_order_of_their_names() -> None:
    states = [_state("c", name="b"), _state("a", name="c"), _state("b", name="a")]
    assert [row[1].plain for row in rows(states, {})] == ["a", "b", "c"]


def test_drops_since_the_last_look_decide_who_is_in_trouble() -> None:
    before = {"a": _state("a"), "b": _state("b")}
    now = [_state("a", received=200), _state("b", received=200, dropped=50), _state("c", received=0, dropped=0)]
    shown = [(row[0].plain, row[8].plain, row[8].style) for row in rows(now, before)]
    assert shown == [("b", "50 (40%)", "red"), ("a", "10", ""), ("c", "0", "")]


def test_a_name_cannot_play_tricks_on_the_terminal() -> None:
    ((_, name, *_),) = rows([_state(name="\x1b[2Jdoor\n")], {})
    assert name.plain == "?[2Jdoor?"


BUSY = [
    _state(
        f"ab12cd3{number}", name=f"entrance [hall], camera {number}", caller="yard-north", received=123456,
        dropped=30000 * number, failed=100 * number, identities=1234, tracked_fps=119.96, latency_p95_ms=1280.2,
    )
    for number in range(4)
]  # fmt: skip


@pytest.mark.parametrize(
    ("room", "columns"),
    [
        (200, "stream name caller open size fps ms p95 drops fails people ids det"),
        (100, "name caller open size fps ms p95 drops fails people ids det"),
        (80, "name open fps ms p95 drops fails people ids det"),
        (60, "name fps ms p95 drops fails people"),
    ],
)
def test_a_narrow_terminal_cuts_names_off_and_no_numbers(room: int, columns: str) -> None:
    console = Console(width=room, file=io.StringIO(), markup=False)
    console.print(_table(BUSY, {}, "host:1", room))
    head, _, names, *lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]  # a StringIO
    assert head == "host:1: 4 streams, 479.8 frames a second, 12 people"[:room]
    assert names.split() == columns.split()
    assert len(lines) == 4
    for line in lines:
        assert len(line) <= room
        for number in ("120.0", "42", "1280", " 3"):
            assert number in line
    assert "90000 (73%)" in lines[0]
    assert ("camera 3" in lines[0]) == (room == 200)


@pytest.mark.parametrize("once", [False, True])
async def test_in_a_pipe_the_looks_follow_each_other(
    once: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = 0

    async def ask(_: object) -> list[State]:
        nonlocal looks
        looks += 1
        if looks > 3:
            raise RuntimeError("enough")
        return BUSY

    monkeypatch.setattr(top, "_ask", ask)
    job = TopJob(ServerAccess(("host:1",)), every_s=0.001, once=once)
    with nullcontext() if once else pytest.raises(RuntimeError, match="enough"):
        await top._show(job)
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert said.count("host:1: 4 streams") == (1 if once else 3)
    assert said.count("entrance [hall], camera 3  yard-north  1:02:03  640x480  120.0") == (1 if once else 3)


async def test_a_server_that_is_gone_has_no_streams_to_show(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames dropped meanwhile show when it is back."""
    looks = 0

    async def ask(_: object) -> list[State]:
        nonlocal looks
        looks += 1
        if looks > 5:
            raise RuntimeError("enough")
        if looks in (2, 3, 4):
            raise ConnectionFailed("nobody answers")
        return [_state(received=100 * looks, dropped=10 * looks)]

    monkeypatch.setattr(top, "_ask", ask)
    with pytest.raises(RuntimeError, match="enough"):
        await top._show(TopJob(ServerAccess(("host:1",)), every_s=0.001))
    said = capsys.readouterr().out
    assert said.count("nobody answers") == 3
    assert said.count("host:1: 1 stream,") == 2
    assert "host:1: 0 streams" not in said
    assert "50 (10%)" in said


async def test_whose_token_does_not_show_all_streams_sees_its_own() -> None:
    class Server(PoseTrackingServiceServicer):
        async def ListStreams(self, request: Any, context: Any) -> Any:  # noqa: N802
            if request.all_callers:
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, "this token shows its own streams only")
            return pose_tracking_service_pb2.ListStreamsResponse(streams=[_state("own")])

    server = grpc.aio.server()
    add_PoseTrackingServiceServicer_to_server(Server(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    connections = ServerAccess((f"127.0.0.1:{port}",)).connections()
    try:
        assert [state.stream_id for state in await top._ask(connections)] == ["own"]
    finally:
        await connections.aclose()
        await server.stop(None)


def test_no_server() -> None:
    result = CliRunner().invoke(app, ["top", "--server", "127.0.0.1:1", "--once"])
    assert result.exit_code == 1
    assert "no posewire server can be reached at 127.0.0.1:1" in result.output


def test_servers_that_stand_in_for_each_other_are_asked_in_turn() -> None:
    with serving(networks()) as address:
        result = CliRunner().invoke(app, ["top", "--server", f"127.0.0.1:1,{address}", "--once"])
    assert result.exit_code == 0, result.output
    assert f"{address}: 0 streams" in result.output
