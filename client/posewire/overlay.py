"""People drawn onto pictures: skeletons coloured by id, boxes, labels, trails."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TypeAlias

import cv2
import numpy as np

from posewire.errors import InvalidSettings
from posewire.joints import JointSet
from posewire.results import FloatArray, Image, Person

__all__ = ["Trails", "color_of", "draw_people"]

Color: TypeAlias = tuple[int, int, int]
Point: TypeAlias = tuple[float, float]

# Vivid on dark and on bright grounds alike, and ordered so that ids that follow each other differ most.
_PALETTE: tuple[Color, ...] = (
    (64, 156, 255),
    (255, 140, 26),
    (72, 214, 84),
    (255, 84, 112),
    (178, 122, 255),
    (255, 208, 40),
    (0, 212, 200),
    (255, 112, 210),
    (158, 206, 32),
    (108, 124, 255),
    (255, 168, 132),
    (0, 184, 122),
    (226, 92, 255),
    (200, 164, 96),
    (120, 220, 255),
    (232, 62, 62),
)
_INK: Color = (18, 20, 24)
_PAPER: Color = (250, 250, 250)

# OpenCV draws at fractions of a pixel when coordinates are scaled by 2 ** _SHIFT.
_SHIFT = 4
_FACE = {"nose", "left_eye", "right_eye", "left_ear", "right_ear"}
_NECK = {"neck", "head_bottom", "head_top"}
_FONT = cv2.FONT_HERSHEY_DUPLEX


def color_of(person_id: int) -> Color:
    """The colour of a track id, red, green, blue: always the same, and unlike that of the ids before and after.

    48 ids in a row have different colours: the palette, then its lighter and its darker shades.
    """
    shade, place = divmod((person_id - 1) % (3 * len(_PALETTE)), len(_PALETTE))
    return (_PALETTE[place], _mix(_PALETTE[place], _PAPER, 0.45), _mix(_PALETTE[place], _INK, 0.3))[shade]


class Trails:
    """Where people have been in the last frames. Give one to each `draw_people` of a stream.

    Args:
        length: frames that are remembered, at least 2.

    Raises:
        InvalidSettings: `length` is below 2.
    """

    def __init__(self, length: int = 40):
        if length < 2:
            raise InvalidSettings(f"length is {length}; a trail takes at least 2 frames")
        self.length = length
        self._frame = 0
        self._paths: dict[int, deque[tuple[int, Point]]] = {}

    def update(self, people: Iterable[Person], skeleton: JointSet, joint_threshold: float = 0.3) -> None:
        """Note where everybody is in the next frame."""
        self._frame += 1
        for person in people:
            path = self._paths.setdefault(person.id, deque())
            path.append((self._frame, _middle(person, skeleton, joint_threshold)))
        for person_id, path in list(self._paths.items()):
            while path and path[0][0] <= self._frame - self.length:
                path.popleft()
            if not path:
                del self._paths[person_id]

    def paths(self) -> dict[int, list[tuple[float, Point]]]:
        """For each id the points of its path, oldest first, with their freshness: 1 is now, 0 is forgotten."""
        return {
            person_id: [
                (1 - (self._frame - frame) / self.length, point)
                for (frame, _), point in zip(path, _smoothed([point for _, point in path]), strict=True)
            ]
            for person_id, path in self._paths.items()
        }


def draw_people(
    image: Image,
    people: Sequence[Person],
    skeleton: JointSet,
    *,
    trails: Trails | None = None,
    joint_threshold: float = 0.3,
    boxes: bool = True,
    labels: bool = True,
) -> Image:
    """Draw people onto a copy of the picture.

        trails = posewire.Trails()
        for result in client.track("walk.mp4", keep_images=True):
            picture = posewire.draw_people(result.image, result.people, skeleton, trails=trails)

    Args:
        image: `(h, w, 3)` uint8 RGB; not changed.
        people: of this frame.
        skeleton: what their joints are; `stream.info.joint_set`.
        trails: remembers the frames before; it is told of this one here.
        joint_threshold: joints with a lower score, and the limbs that end in them, are left out.
        boxes: draw the boxes.
        labels: draw the ids.

    Returns:
        `(h, w, 3)` uint8 RGB.
    """
    canvas = np.ascontiguousarray(image).copy()
    # One unit is a pixel of a picture of about 960x540.
    unit = max(0.5, math.sqrt(canvas.shape[0] * canvas.shape[1]) / 720)
    if trails is not None:
        trails.update(people, skeleton, joint_threshold)
        paths = trails.paths()
        for person in people:
            _draw_trail(canvas, paths[person.id], color_of(person.id), unit)
    # The nearest last: feet lower in the picture are nearer to the camera.
    for person in sorted(people, key=lambda person: float(person.box[1] + person.box[3])):
        if boxes:
            _draw_box(canvas, person, unit)
        _draw_skeleton(canvas, person, skeleton, joint_threshold, unit)
    if labels:
        _draw_labels(canvas, people, unit)
    return canvas


def _draw_skeleton(canvas: Image, person: Person, skeleton: JointSet, threshold: float, unit: float) -> None:
    """Limbs with a dark rim; left limbs lighter and right limbs darker than the colour of the id."""
    base = color_of(person.id)
    # Thinner for people far away, so that a limb stays a line and not a blob.
    width = float(np.clip(0.016 * max(person.box[2], person.box[3]), 1.0, 5.0 * unit))
    shown = person.joints[:, 2] >= threshold
    limbs = []
    places: list[Point] = [(x, y) for x, y, _ in person.joints.tolist()]
    for a, b in _edges(skeleton):
        if shown[a] and shown[b]:
            names = skeleton.names[a], skeleton.names[b]
            share = 0.55 if (_FACE | _NECK).issuperset(names) else 1.0
            limbs.append((places[a], places[b], _side_color(base, names), width * share))
    shoulders = _indices(skeleton, ("left_shoulder", "right_shoulder"))
    neck = _indices(skeleton, ("neck", "head_bottom"))
    if len(shoulders) == 2 and neck and shown[shoulders].all() and shown[neck[0]]:
        middle = person.joints[shoulders, :2].mean(axis=0).tolist()
        limbs.append((places[neck[0]], (middle[0], middle[1]), base, width * 0.55))
    dots = [
        (places[k], _side_color(base, (name,)), width * (0.5 if name in _FACE else 0.85))
        for k, name in enumerate(skeleton.names)
        if shown[k]
    ]
    rim = max(1.0, 0.35 * width)
    for start, end, _, thickness in limbs:
        _line(canvas, start, end, _INK, thickness + 2 * rim)
    for centre, _, radius in dots:
        _dot(canvas, centre, _INK, radius + rim)
    for start, end, color, thickness in limbs:
        _line(canvas, start, end, color, thickness)
    for centre, color, radius in dots:
        _dot(canvas, centre, _mix(color, _PAPER, 0.45), radius)


def _draw_box(canvas: Image, person: Person, unit: float) -> None:
    """A faint frame with strong corners."""
    left, top, right, bottom = map(float, person.box_xyxy)
    if not (right > left and bottom > top):
        return
    color = color_of(person.id)
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        with _Blend(canvas, (start, end), margin=2 * unit, opacity=0.45) as layer:
            layer.line(start, end, color, max(1.0, unit))
    arm = min(0.22 * min(right - left, bottom - top), 26 * unit)
    for (x, y), (towards_x, towards_y) in zip(corners, ((1, 1), (-1, 1), (-1, -1), (1, -1)), strict=True):
        for end in ((x + towards_x * arm, y), (x, y + towards_y * arm)):
            _line(canvas, (x, y), end, color, max(1.0, 2 * unit))


def _draw_labels(canvas: Image, people: Sequence[Person], unit: float) -> None:
    """Ids on plates of their colour, above the boxes or inside where there is no room, in ink or paper."""
    height, width = canvas.shape[:2]
    pad = max(2, round(4 * unit))
    rows: list[tuple[int, int, int]] = []  # of the plates so far: left, right, top
    for person in people:
        glyphs = _glyphs(str(person.id), max(0.4, 0.55 * unit), max(1, round(unit)))
        plate_height, plate_width = glyphs.shape[0] + 2 * pad, glyphs.shape[1] + 2 * pad
        x = int(np.clip(round(float(person.box[0])), 0, max(0, width - plate_width)))
        above = round(float(person.box[1])) - plate_height - round(unit)
        y = int(np.clip(above if above >= 0 else round(float(person.box[1])), 0, max(0, height - plate_height)))
        while y > plate_height and any(
            left < x + plate_width and x < right and abs(y - top) < plate_height for left, right, top in rows
        ):
            y -= plate_height  # people who stand close have their labels above each other
        rows.append((x, x + plate_width, y))
        color = color_of(person.id)
        brightness = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
        cv2.rectangle(canvas, (x, y), (x + plate_width - 1, y + plate_height - 1), color, cv2.FILLED)
        part = canvas[y + pad : y + pad + glyphs.shape[0], x + pad : x + pad + glyphs.shape[1]]
        cover = glyphs[: part.shape[0], : part.shape[1], None]
        part[:] = part + (np.array(_INK if brightness > 120 else _PAPER) - part) * cover


@lru_cache(maxsize=1024)
def _glyphs(text: str, scale: float, stroke: int) -> FloatArray:
    """How far each pixel is covered by the text, 0..1, cut to the ink: fonts differ in the room they leave around."""
    (width, height), descent = cv2.getTextSize(text, _FONT, scale, stroke)
    drawn = np.zeros((2 * height + 2 * descent, width + 2 * height), dtype=np.uint8)
    cv2.putText(drawn, text, (height // 2, height + height // 2), _FONT, scale, 255, stroke, cv2.LINE_AA)
    rows, columns = np.nonzero(drawn.max(axis=1))[0], np.nonzero(drawn.max(axis=0))[0]
    ink = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.asarray(ink / 255, dtype=np.float32)


def _draw_trail(canvas: Image, path: list[tuple[float, Point]], color: Color, unit: float) -> None:
    """A line that thins out and fades with age."""
    steps = 4
    for step in range(steps):
        low, high = step / steps, (step + 1) / steps
        segments = [(start, end) for (_, start), (fresh, end) in pairwise(path) if low < fresh <= high]
        if segments:
            points = [point for segment in segments for point in segment]
            thickness = max(1.0, (0.8 + 1.7 * high) * unit)
            with _Blend(canvas, points, margin=thickness + 1, opacity=0.2 + 0.55 * high) as layer:
                for start, end in segments:
                    layer.line(start, end, color, thickness)


@dataclass
class _Blend:
    """Draws into a part of the canvas and mixes the result in with some opacity, when the block ends."""

    canvas: Image
    points: Sequence[Point]
    margin: float
    opacity: float

    def __enter__(self) -> _Blend:
        height, width = self.canvas.shape[:2]
        xs, ys = [x for x, _ in self.points], [y for _, y in self.points]
        self._left = int(np.clip(min(xs) - self.margin, 0, width))
        self._top = int(np.clip(min(ys) - self.margin, 0, height))
        right = int(np.clip(max(xs) + self.margin + 1, 0, width))
        bottom = int(np.clip(max(ys) + self.margin + 1, 0, height))
        self._part = self.canvas[self._top : bottom, self._left : right]
        self._layer = self._part.copy()
        return self

    def line(self, start: Point, end: Point, color: Color, thickness: float) -> None:
        """A line in coordinates of the canvas."""
        if self._layer.size:
            moved = [(x - self._left, y - self._top) for x, y in (start, end)]
            _line(self._layer, moved[0], moved[1], color, thickness)

    def __exit__(self, *_: object) -> None:
        if self._layer.size:
            self._part[:] = cv2.addWeighted(self._layer, self.opacity, self._part, 1 - self.opacity, 0)


def _edges(skeleton: JointSet) -> list[tuple[int, int]]:
    """The limbs to draw: from the ears to the shoulders only where no neck holds the head."""
    has_neck = not _NECK.isdisjoint(skeleton.names)
    return [
        edge
        for edge in skeleton.edges
        if not (has_neck and {skeleton.names[k].partition("_")[2] for k in edge} == {"ear", "shoulder"})
    ]


def _middle(person: Person, skeleton: JointSet, threshold: float) -> Point:
    """The middle of the hips, or of the box where they are not seen."""
    hips = _indices(skeleton, ("left_hip", "right_hip"))
    if len(hips) == 2 and (person.joints[hips, 2] >= threshold).all():
        x, y = person.joints[hips, :2].mean(axis=0)
    else:
        x, y = person.box[:2] + person.box[2:] / 2
    return float(x), float(y)


def _indices(skeleton: JointSet, names: Iterable[str]) -> list[int]:
    """Of those joints that the skeleton has."""
    return [skeleton.names.index(name) for name in names if name in skeleton.names]


def _smoothed(points: list[Point]) -> list[Point]:
    """Means over five points, fewer towards the ends, which stay: joints tremble, people do not."""
    means = []
    for k in range(len(points)):
        reach = min(2, k, len(points) - 1 - k)
        part = points[k - reach : k + reach + 1]
        means.append((sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)))
    return means


def _side_color(base: Color, names: Iterable[str]) -> Color:
    sides = {name.partition("_")[0] for name in names}
    if "left" in sides and "right" not in sides:
        return _mix(base, _PAPER, 0.3)
    if "right" in sides and "left" not in sides:
        return _mix(base, _INK, 0.22)
    return base


def _mix(color: Color, other: Color, share: float) -> Color:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(color, other, strict=True))
    return red, green, blue


def _line(canvas: Image, start: Sequence[float], end: Sequence[float], color: Color, thickness: float) -> None:
    cv2.line(canvas, _fixed(start), _fixed(end), color, max(1, round(thickness)), cv2.LINE_AA, _SHIFT)


def _dot(canvas: Image, centre: Sequence[float], color: Color, radius: float) -> None:
    cv2.circle(canvas, _fixed(centre), round(radius * 2**_SHIFT), color, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _fixed(point: Sequence[float]) -> tuple[int, int]:
    # Far outside the picture OpenCV's integers would overflow; nothing there is seen.
    x, y = (max(-1e5, min(1e5, float(value))) for value in point)
    return round(x * 2**_SHIFT), round(y * 2**_SHIFT)
