"""The paths of people over the last frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from posewire.errors import InvalidSettings
from posewire.joints import JointSet, joint_rows
from posewire.overlay._primitives import Point
from posewire.results import Person

__all__ = ["Trails"]


class Trails:
    """The paths of people over the last frames. Pass the same one to each `draw_people` of a stream.

    Args:
        length: number of frames that are kept, at least 2.

    Raises:
        InvalidSettings: `length` is below 2.
    """

    def __init__(self, length: int = 40):
        if length < 2:
            raise InvalidSettings(f"length is {length}; a trail takes at least 2 frames")
        self.length = length
        self._frame = 0
        self._paths: dict[int, deque[tuple[int, Point]]] = {}

    def update(self, people: Iterable[Person], joint_set: JointSet, joint_score_threshold: float = 0.3) -> None:
        """Add the positions of all people in the next frame."""
        self._frame += 1
        for person in people:
            path = self._paths.setdefault(person.id, deque())
            path.append((self._frame, _middle(person, joint_set, joint_score_threshold)))
        for person_id, path in list(self._paths.items()):
            while path and path[0][0] <= self._frame - self.length:
                path.popleft()
            if not path:
                del self._paths[person_id]

    def paths(self) -> dict[int, list[tuple[float, Point]]]:
        """The points of the path of each id, oldest first, with their freshness: 1 is now, 0 is no longer kept."""
        return {
            person_id: [
                (1 - (self._frame - frame) / self.length, point)
                for (frame, _), point in zip(path, _smoothed([point for _, point in path]), strict=True)
            ]
            for person_id, path in self._paths.items()
        }


def _middle(person: Person, joint_set: JointSet, threshold: float) -> Point:
    """The middle of the hips, or of the box if a hip's score is below `threshold`."""
    hips = joint_rows(joint_set, ("left_hip", "right_hip"))
    if len(hips) == 2 and (person.joints[hips, 2] >= threshold).all():
        x, y = person.joints[hips, :2].mean(axis=0)
    else:
        x, y = person.box[:2] + person.box[2:] / 2
    return float(x), float(y)


def _smoothed(points: list[Point]) -> list[Point]:
    """Means over five points, fewer towards the ends, which stay in place: removes the jitter of joints."""
    means = []
    for k in range(len(points)):
        reach = min(2, k, len(points) - 1 - k)
        part = points[k - reach : k + reach + 1]
        means.append((sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)))
    return means
