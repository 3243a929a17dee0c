"""`posewire serve` with quick stand-in networks: all else is the program as it is.

    python -m tests.processes.stand_in_server --port 0 --port-file port

With POSEWIRE_TEST_LEAK set, it keeps every frame for ever: the control for tests that look for leaks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from posewire_models.frames import Frame
from posewire_server import server
from posewire_server.__main__ import app
from posewire_server.inference.networks import Networks
from tests.server import stand_ins


class LeakingPose(stand_ins.GridPose):
    """Forgets nothing."""

    def __init__(self) -> None:
        self._kept: list[Any] = []

    def __call__(self, frames: Sequence[Frame], boxes: Sequence[stand_ins.Floats]) -> list[stand_ins.Floats]:
        self._kept += [frame.pixels.copy() for frame in frames]
        return super().__call__(frames, boxes)


def networks(config: object) -> Networks:
    return stand_ins.networks(pose=LeakingPose() if "POSEWIRE_TEST_LEAK" in os.environ else None)


def run(flags: Sequence[str] | None = None) -> None:
    """The program; `flags` in place of those of the command line."""
    server.load_networks = networks
    app(flags, prog_name="stand_in_server")


def serve(flags: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
    """The program in a process that was forked to be it, with an environment and a log file of its own."""
    os.environ.clear()
    os.environ.update(environment)
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    run(flags)


if __name__ == "__main__":
    run()
