"""Comparing the results of a replayed stream with the recorded ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from posewire.v1 import pose_pb2, track_pb2
from posewire_server.recording.recording import Outcome

__all__ = ["Comparison"]


@dataclass
class Comparison:
    """Compares outcomes frame by frame.

    Attributes:
        tolerance_px: maximum distance of matching joints.
        renamed: ids may differ if each one always corresponds to the same other id: the recorded stream continued
            another one.
        frames: number of frames compared so far.
        differences: numbers of the frames that differ, each with its first difference.
        worst_px: the largest distance between matching joints.
    """

    tolerance_px: float = 0.01
    renamed: bool = False
    frames: int = 0
    differences: list[tuple[int, str]] = field(default_factory=list)
    worst_px: float = 0.0
    _names: dict[int, int] = field(default_factory=dict)

    def add(self, number: int, recorded: Outcome, now: Outcome) -> None:
        """Compare one frame."""
        self.frames += 1
        difference = self._difference(recorded, now)
        if difference:
            self.differences.append((number, difference))

    def _difference(self, recorded: Outcome, now: Outcome) -> str:
        if not isinstance(recorded, track_pb2.TrackedFrame) or not isinstance(now, track_pb2.TrackedFrame):
            was, is_now = _described(recorded), _described(now)
            return "" if was == is_now else f"recorded: {was}; now: {is_now}"
        before = {person.id: person for person in recorded.people}
        after = {person.id: person for person in now.people}
        if self.renamed:
            before = self._as_now(before, after)
        if before.keys() != after.keys():
            return f"recorded ids {_listed(before)}; now {_listed(after)}"
        for identity, person in before.items():
            distance = _distance(person, after[identity])
            self.worst_px = max(self.worst_px, distance)
            if not distance <= self.tolerance_px:
                return f"joints of id {identity} are {distance:.3f} px apart ({self.tolerance_px:g} px are allowed)"
        return ""

    def _as_now(
        self, before: dict[int, pose_pb2.Person], after: dict[int, pose_pb2.Person]
    ) -> dict[int, pose_pb2.Person]:
        """The recorded people by their ids in the replay; those new on both sides are paired by position.

        People without a counterpart get their recorded id, negated, since in the replay it may be somebody else's.
        """
        free = {identity: person for identity, person in after.items() if identity not in self._names.values()}
        for identity, person in before.items():
            if identity not in self._names and free:
                nearest = min(free, key=lambda other: _distance(person, free[other]))
                self._names[identity] = nearest
                del free[nearest]
        return {self._names.get(identity, -identity): person for identity, person in before.items()}


def _distance(one: pose_pb2.Person, other: pose_pb2.Person) -> float:
    """The largest difference, in x or y, between corresponding joints."""
    if len(one.joints) != len(other.joints):
        return float("inf")
    places = [np.array(person.joints, np.float32).reshape(-1, 3)[:, :2] for person in (one, other)]
    return float(np.abs(places[0] - places[1]).max(initial=0.0))


def _described(outcome: Outcome) -> str:
    if isinstance(outcome, track_pb2.TrackedFrame):
        return f"tracked, ids {_listed({person.id: person for person in outcome.people})}"
    if isinstance(outcome, track_pb2.FailedFrame):
        return f"failed ({_named(track_pb2.FailureReason, outcome.reason)})"
    return f"dropped ({_named(track_pb2.DropReason, outcome.reason)})"


def _named(reasons: Any, value: int) -> str:
    """The name of a reason, or its number if only a newer server knows it."""
    return str(reasons.Name(value)) if value in reasons.values() else f"{value}"


def _listed(people: dict[int, pose_pb2.Person]) -> str:
    ids = (f"{each}" if each > 0 else f"{-each} (as recorded)" for each in sorted(people))
    return ", ".join(ids) or "none"
