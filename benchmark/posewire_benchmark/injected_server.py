"""`python -m posewire_benchmark.injected_server PEOPLE`: a server that detects a given number of people.

For measuring speed with random weights: the detector runs and takes its usual time, and then its results are replaced
by people in a row.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

import numpy as np

from posewire_benchmark.clips import boxes_in_a_row
from posewire_benchmark.substitute_server import serve
from posewire_models.frames import Detections, Frame
from posewire_models.stages import Detector
from posewire_server.inference.networks import Networks, load_networks

__all__ = ["InjectedDetector", "people_in_a_row", "with_injected_people"]

_SURE = 0.95


class InjectedDetector:
    """A `Detector` that runs another one and replaces its results by `people` people in a row."""

    def __init__(self, detector: Detector, people: int) -> None:
        self._detector = detector
        self._people = people

    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        """The same people in each frame."""
        self._detector(frames)
        return people_in_a_row(self._people, frames)


def people_in_a_row(people: int, frames: Sequence[Frame]) -> list[Detections]:
    """`people` people in each frame, found with certainty."""
    scores = np.full(people, _SURE, np.float32)
    return [Detections(boxes_in_a_row(people, frame.size[::-1]), scores) for frame in frames]


def with_injected_people(networks: Networks, people: int) -> Networks:
    """The same networks with an `InjectedDetector`; raises `ValueError` if there is no detector to run."""
    if networks.detector is None:
        raise ValueError("people are injected behind a detector, and there is none; give --detector")
    return dataclasses.replace(networks, detector=InjectedDetector(networks.detector, people))


def _main(people: str) -> None:
    serve(lambda config: with_injected_people(load_networks(config), int(people)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
