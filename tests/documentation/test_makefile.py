"""What `make` hands on to posewire."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("source", ["my.mp4", "it's mine.mp4", "rtsp://me:pa$$word$1@camera/stream", "-1.mp4", ""])
def test_make_demo_takes_any_source(source: str, tmp_path: Path) -> None:
    (tmp_path / ".server").touch()  # newer than what it is made from: nothing is installed
    program = tmp_path / "posewire"
    program.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    program.chmod(0o755)
    command = ["make", "--silent", "demo", f"BIN={tmp_path}", f"SOURCE={source}", "DEMO_FLAGS=--frames 3"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert finished.stdout.splitlines() == ["demo", "--frames", "3", *(["--", source] if source else [])]
