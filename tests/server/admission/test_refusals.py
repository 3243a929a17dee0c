from __future__ import annotations

from typing import Any

import pytest

from posewire_server.admission.refusals import Refusals
from posewire_server.errors import InvalidRequest, NotAuthenticated, ServerDraining
from posewire_server.observability.logs import HumanFormatter
from tests.server.clock import Clock

_ERROR = NotAuthenticated("a token is needed here")


@pytest.fixture
def counted() -> list[str]:
    return []


@pytest.fixture
def refusals(counted: list[str], clock: Clock) -> Refusals:
    return Refusals(counted.append, clock)


def _facts(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record)["posewire_facts"] for record in caplog.records]


def test_the_first_of_a_caller_has_a_line_and_then_one_in_ten_seconds(
    refusals: Refusals, counted: list[str], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for port in range(50):  # each call from a connection of its own
        refusals.refused("/a/B", f"ipv4:10.0.0.1:{port}", "ipv4:10.0.0.1", _ERROR)
    refusals.refused("/a/B", "ipv4:10.0.0.1:99", "token:door", _ERROR)
    assert [each["caller"] for each in _facts(caplog)] == ["ipv4:10.0.0.1", "token:door"]
    assert counted == ["UNAUTHENTICATED"] * 51
    clock.now += 10.0
    refusals.refused("/a/B", "ipv4:10.0.0.1:99", "ipv4:10.0.0.1", _ERROR)
    about = {"error": "a token is needed here", "method": "/a/B", "peer": "ipv4:10.0.0.1:99", "caller": "ipv4:10.0.0.1"}
    assert _facts(caplog)[2:] == [{**about, "unlogged": 49}]


def test_refusals_of_a_draining_server_are_counted_only(
    refusals: Refusals, counted: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    refusals.refused("/a/B", "ipv4:10.0.0.1:1", "ipv4:10.0.0.1", ServerDraining("this server is about to stop"))
    assert counted == ["DRAINING"]
    assert not caplog.records


def test_what_a_caller_chooses_is_cut(refusals: Refusals, caplog: pytest.LogCaptureFixture) -> None:
    error = InvalidRequest("\x1b[2J" + "y" * 8000)
    refusals.refused("/" + "x" * 8000, "ipv4:10.0.0.1:1", "ipv4:10.0.0.1", error)
    assert len(_facts(caplog)[0]["method"]) == 100
    line = HumanFormatter().format(caplog.records[0])
    assert len(line) < 700
    assert "\x1b" not in line


def test_callers_are_forgotten_but_not_the_calls_that_were_not_logged(
    refusals: Refusals, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for host in (1, 1, 1, 2):
        refusals.refused("/a/B", f"ipv4:10.0.0.{host}:1", f"ipv4:10.0.0.{host}", _ERROR)
    clock.now += 10.0
    caplog.clear()
    refusals.refused("/a/B", "ipv4:10.0.0.3:1", "ipv4:10.0.0.3", _ERROR)
    assert len(refusals) == 1
    of_the_first, of_the_third = _facts(caplog)  # of the second, all were logged
    assert of_the_first == {"caller": "ipv4:10.0.0.1", "unlogged": 2}
    assert of_the_third["caller"] == "ipv4:10.0.0.3"


def test_any_number_of_callers_takes_little_memory_and_few_lines(
    refusals: Refusals, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5000):
        refusals.refused("/a/B", f"ipv6:%5B2001:db8::{number:x}%5D:1", f"ipv6:%5B2001:db8::{number:x}%5D", _ERROR)
    assert len(refusals) == len(caplog.records) == 101
    assert _facts(caplog)[-1]["caller"] == "others"
    clock.now += 10.0
    refusals.refused("/a/B", "ipv4:10.0.0.1:1", "ipv4:10.0.0.1", _ERROR)
    assert len(refusals) == 1
    assert _facts(caplog)[-2] == {"caller": "others", "unlogged": 4899}
