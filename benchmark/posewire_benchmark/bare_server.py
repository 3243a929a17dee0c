"""`python -m posewire_benchmark.bare_server PEOPLE`: a server whose networks take no time, and see people in a row.

For measuring what one server process can carry of gRPC, decoding and tracking: with faster networks, or a faster GPU,
it is not faster than this.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

import numpy as np

from posewire.array_types import Float32s
from posewire.joints import NANO19
from posewire_benchmark.injected_server import people_in_a_row
from posewire_benchmark.substitute_server import serve
from posewire_models.flow_estimators import StillFlow
from posewire_models.frames import Frame
from posewire_server.inference.networks import ModelNames, Networks

__all__ = ["StiffPose", "bare_networks"]

_SURE = 0.9


class StiffPose:
    """A `PoseEstimator` that sees the same pose in every box: the joints in rows, from the top to the bottom."""

    def __init__(self) -> None:
        place = np.arange(len(NANO19))
        self._places = np.stack([0.2 + 0.3 * (place % 3), (place + 0.5) / len(NANO19)], axis=-1).astype(np.float32)

    def __call__(self, frames: Sequence[Frame], boxes: Sequence[Float32s]) -> list[Float32s]:
        """For each frame the joints `(n, 19, 3)` of its `n` boxes."""
        return [self._in(xyxy) for xyxy in boxes]

    def _in(self, xyxy: Float32s) -> Float32s:
        joints = np.full((len(xyxy), len(NANO19), 3), _SURE, np.float32)
        joints[..., :2] = xyxy[:, None, :2] + self._places * (xyxy[:, None, 2:] - xyxy[:, None, :2])
        return joints


def bare_networks(people: int) -> Networks:
    """A detector, flow and poses that need no computation: `people` people in a row stand still."""
    names = ModelNames(bundle="none", detector="none", flow="none", pose="none", bundle_version=0)
    return Networks(partial(people_in_a_row, people), StillFlow(), StiffPose(), NANO19, names, "cpu (no networks)")


def _main(people: str) -> None:
    serve(lambda _: bare_networks(int(people)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
