from __future__ import annotations

from typing import Any

import pytest

from posewire_server.admission.refusals import RefusalLog
from posewire_server.errors import NotAuthenticated
from posewire_server.observability.logs import HumanFormatter
from tests.server.clock import Clock

_ERROR = NotAuthenticated("a token is needed here")


@pytest.fixture
def refusals(clock: Clock) -> RefusalLog:
    return RefusalLog(clock)


def _facts(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record)["posewire_facts"] for record in caplog.records]


def test_the_first_of_a_host_has_a_line_and_then_one_in_ten_seconds(
    refusals: RefusalLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for port in range(50):  # each call from a connection of its own
        refusals.refused("/a/B", f"ipv4:10.0.0.1:{port}", _ERROR)
    refusals.refused("/a/B", "ipv4:10.0.0.2:1", _ERROR)
    assert [each["host"] for each in _facts(caplog)] == ["ipv4:10.0.0.1", "ipv4:10.0.0.2"]
    clock.now += 10.0
    refusals.refused("/a/B", "ipv4:10.0.0.1:99", _ERROR)
    assert _facts(caplog)[2:] == [
        {"method": "/a/B", "peer": "ipv4:10.0.0.1:99", "host": "ipv4:10.0.0.1", "unlogged": 49}
    ]
    assert "call refused: a token is needed here" in caplog.messages


def test_what_a_caller_chooses_is_cut(refusals: RefusalLog, caplog: pytest.LogCaptureFixture) -> None:
    refusals.refused("/" + "x" * 8000, "ipv4:10.0.0.1:1", _ERROR)
    assert len(_facts(caplog)[0]["method"]) == 100
    assert len(HumanFormatter().format(caplog.records[0])) < 300


def test_hosts_are_forgotten_but_not_the_calls_that_were_not_logged(
    refusals: RefusalLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for host in (1, 1, 1, 2):
        refusals.refused("/a/B", f"ipv4:10.0.0.{host}:1", _ERROR)
    clock.now += 10.0
    caplog.clear()
    refusals.refused("/a/B", "ipv4:10.0.0.3:1", _ERROR)
    assert len(refusals) == 1
    of_the_first, of_the_third = _facts(caplog)  # of the second, all were logged
    assert of_the_first == {"host": "ipv4:10.0.0.1", "unlogged": 2}
    assert of_the_third["host"] == "ipv4:10.0.0.3"


def test_any_number_of_hosts_takes_little_memory_and_few_lines(
    refusals: RefusalLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5000):
        refusals.refused("/a/B", f"ipv6:%5B2001:db8::{number:x}%5D:1", _ERROR)
    assert len(refusals) == len(caplog.records) == 101
    assert _facts(caplog)[-1]["host"] == "others"
    clock.now += 10.0
    refusals.refused("/a/B", "ipv4:10.0.0.1:1", _ERROR)
    assert len(refusals) == 1
    assert _facts(caplog)[-2] == {"host": "others", "unlogged": 4899}
