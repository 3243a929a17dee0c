from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from posewire_server.observability import log_writer
from posewire_server.observability.log_writer import LogWriter


@pytest.fixture
def stuck_pipe() -> Iterator[tuple[int, int]]:
    """The ends of a pipe that is full."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"." * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def _record(text: str) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, "file", 1, text, (), None)


def test_a_server_whose_log_nobody_reads_goes_on(stuck_pipe: tuple[int, int]) -> None:
    code = (
        "import logging, os; from posewire_server.observability.logs import set_up_logging;"
        "from posewire_server.config import LogFormat, LogLevel; set_up_logging(LogLevel.INFO, LogFormat.JSON);"
        "logging.info('one'); logging.info('two'); print('goes on', flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=stuck_pipe[1], timeout=20)
    assert done.stdout == b"goes on\n"


def test_lines_beyond_the_room_are_counted(stuck_pipe: tuple[int, int]) -> None:
    log = LogWriter(stuck_pipe[1], most_waiting=3)
    for number in range(9):
        log.handle(_record(f"line {number}"))
    read = b""
    while b"line 2" not in read:
        read += os.read(stuck_pipe[0], 4096)
    log.flush()
    log.handle(_record("at last"))
    log.flush()
    log.close()
    lines = (read + os.read(stuck_pipe[0], 4096)).decode().lstrip(".").splitlines()
    assert lines[0] == "line 0"
    assert lines[-1] == "at last"
    lost = re.fullmatch(r"(\d) lines of this log were lost: its reader was stuck", lines[-2])
    assert lost is not None
    assert len(lines[:-2]) + int(lost[1]) == 9


def test_a_pipe_that_does_not_block(stuck_pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = stuck_pipe
    os.set_blocking(writer, False)
    log = LogWriter(writer)
    log.handle(_record("line"))
    with monkeypatch.context() as patch:
        patch.setattr(log_writer, "_LAST_LINES_S", 0.01)
        log.flush()
    os.read(reader, 2**20)
    log.flush()
    log.close()
    os.write(writer, b"end")
    assert os.read(reader, 2**20) == b"line\nend"


def test_a_log_that_nobody_can_read_any_more_is_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    log = LogWriter(writer)
    log.handle(_record("lost"))
    log.flush()
    log.close()
    log.flush()  # once more, as at exit
    os.close(writer)
    assert capfd.readouterr().err == ""
