"""`posewire top`."""

from __future__ import annotations

from google.protobuf import duration_pb2
from typer.testing import CliRunner

from posewire.cli.application import app
from posewire.cli.top import rows
from posewire.v1 import pose_pb2, pose_tracking_service_pb2, settings_pb2

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


def test_drops_since_the_last_look_decide_who_is_in_trouble() -> None:
    before = {"a": _state("a"), "b": _state("b")}
    now = [_state("a", received=200), _state("b", received=200, dropped=50), _state("c", received=0, dropped=0)]
    shown = [(row[0].plain, row[8].plain, row[8].style) for row in rows(now, before)]
    assert shown == [("b", "50 (40%)", "red"), ("a", "10", ""), ("c", "0", "")]


def test_a_name_cannot_play_tricks_on_the_terminal() -> None:
    ((_, name, *_),) = rows([_state(name="\x1b[2Jdoor\n")], {})
    assert name.plain == "?[2Jdoor?"


def test_no_server() -> None:
    result = CliRunner().invoke(app, ["top", "--server", "127.0.0.1:1", "--once"])
    assert result.exit_code == 1
    assert "no posewire server can be reached at 127.0.0.1:1" in result.output
