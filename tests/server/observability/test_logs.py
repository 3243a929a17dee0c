from __future__ import annotations

import json
import logging
import sys

from posewire_server.decoding.decoders import Codec
from posewire_server.observability.logs import HumanFormatter, JsonFormatter, SeldomFilter, current_stream, facts


def _record(message: str, **values: object) -> logging.LogRecord:
    record = logging.LogRecord("posewire_server.test", logging.INFO, "file", 1, message, (), None)
    for name, value in facts(**values).items():
        setattr(record, name, value)
    return record


def test_json_lines_carry_stream_and_facts() -> None:
    token = current_stream.set("abcd")
    try:
        line = json.loads(JsonFormatter().format(_record("opened", codec="jpeg", count=3)))
    finally:
        current_stream.reset(token)
    assert line["stream"] == "abcd"
    assert (line["message"], line["codec"], line["count"], line["level"]) == ("opened", "jpeg", 3, "info")
    assert "stream" not in json.loads(JsonFormatter().format(_record("outside of any")))


def test_a_name_chosen_by_a_client_cannot_forge_a_line() -> None:
    evil = "cam\n{'message': 'forged'}\x1b[2J"
    for formatter in (JsonFormatter(), HumanFormatter()):
        line = formatter.format(_record("opened", name=evil))
        assert "\n" not in line
        assert "\x1b" not in line


def test_settings_are_spelled_as_they_are_written() -> None:
    record = _record("opened", codec=Codec.JPEG)
    assert json.loads(JsonFormatter().format(record))["codec"] == "jpeg"
    assert HumanFormatter().format(record).endswith("  codec='jpeg'")


def test_exceptions_are_told_in_both_formats() -> None:
    record = _record("failed")
    try:
        raise ValueError("the cause")
    except ValueError:
        record.exc_info = sys.exc_info()
    assert "the cause" in json.loads(JsonFormatter().format(record))["exception"]
    assert "the cause" in HumanFormatter().format(record)


def test_of_many_lines_one_in_ten_seconds_is_logged_and_the_others_are_counted() -> None:
    now = [100.0]
    seldom = SeldomFilter(10.0, lambda: now[0])
    passed = []
    for second in (100.0, 100.0, 109.0, 110.0, 111.0, 130.0):
        now[0], record = second, logging.LogRecord("grpc", logging.ERROR, "file", 1, "broken call", (), None)
        if seldom.filter(record):
            line = json.loads(JsonFormatter().format(record))
            passed.append((second, line.get("unlogged")))
    assert passed == [(100.0, None), (110.0, 2), (130.0, 1)]
