"""`posewire serve` with quick stand-in networks: all else is the program as it is.

    python -m tests.processes.stand_in_server --port 0 --port-file port

With POSEWIRE_TEST_LEAK set, it keeps every frame for ever: the control for tests that look for leaks. With
POSEWIRE_TEST_GPU_FRAMES set, it runs on a stand-in for a GPU, which breaks down after so many frames; with
POSEWIRE_TEST_GPU_HANGS as well, it hangs then, and the server's seconds are shorter.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from posewire_models.frames import Frame
from posewire_server import server, workers
from posewire_server.__main__ import app
from posewire_server.inference import device_loss
from posewire_server.inference.networks import Networks
from tests.server import stand_ins
from tests.stand_in_gpu import DEVICE, break_down, stand_in_gpu


class LeakingPose(stand_ins.GridPose):
    """Forgets nothing."""

    def __init__(self) -> None:
        self._kept: list[Any] = []

    def __call__(self, frames: Sequence[Frame], boxes: Sequence[stand_ins.Floats]) -> list[stand_ins.Floats]:
        self._kept += [frame.pixels.copy() for frame in frames]
        return super().__call__(frames, boxes)


class MortalPose(stand_ins.GridPose):
    """Computes on the stand-in for a GPU, which breaks down or hangs after some frames."""

    def __init__(self, frames: int, *, hangs: bool) -> None:
        self._left = frames
        self._hangs = hangs

    def __call__(self, frames: Sequence[Frame], boxes: Sequence[stand_ins.Floats]) -> list[stand_ins.Floats]:
        self._left -= len(frames)
        if self._left < 0 and self._hangs:
            threading.Event().wait()
        if self._left < 0:
            break_down()
        on_gpu = [torch.from_numpy(each).to(DEVICE) for each in boxes]
        return super().__call__(frames, [each.cpu().numpy() for each in on_gpu])


def networks(config: object) -> Networks:
    if "POSEWIRE_TEST_GPU_FRAMES" in os.environ:
        hangs = "POSEWIRE_TEST_GPU_HANGS" in os.environ
        if hangs:
            device_loss._SECOND_S, workers._LAST_WORK_S = 0.005, 0.1
        pose = MortalPose(int(os.environ["POSEWIRE_TEST_GPU_FRAMES"]), hangs=hangs)
        return replace(stand_ins.networks(pose=pose), torch_device=DEVICE)
    return stand_ins.networks(pose=LeakingPose() if "POSEWIRE_TEST_LEAK" in os.environ else None)


def run(flags: Sequence[str] | None = None, *, stand_ins: bool = True) -> None:
    """The program; `flags` in place of those of the command line."""
    if stand_ins:
        server.load_networks = networks
    with stand_in_gpu() if "POSEWIRE_TEST_GPU_FRAMES" in os.environ else nullcontext():
        app(flags, prog_name="stand_in_server")


def serve(flags: Sequence[str], log: Path, environment: Mapping[str, str], stand_ins: bool) -> None:
    """The program in a process that was forked to be it, with an environment and a log file of its own."""
    os.environ.clear()
    os.environ.update(environment)
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    run(flags, stand_ins=stand_ins)


if __name__ == "__main__":
    run()
