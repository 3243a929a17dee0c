"""Skeletons, boxes, labels and trails of the people of a frame."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import cv2
import numpy as np

from posewire._inputs import check_joints
from posewire.errors import InvalidSettings
from posewire.joints import JointSet, joint_rows
from posewire.overlay._primitives import Blend, Color, Point, draw_dot, draw_line, glyphs, mix
from posewire.overlay._trails import Trails
from posewire.results import Image, Person
from posewire.sources._frames import picture_fault

__all__ = ["color_of", "draw_people"]

# Vivid on dark and bright backgrounds, and ordered so that consecutive ids differ most.
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

_FACE = {"nose", "left_eye", "right_eye", "left_ear", "right_ear"}
_NECK = {"neck", "head_bottom", "head_top"}


def color_of(person_id: int) -> Color:
    """The colour of a track id, red, green, blue: always the same, and unlike those of neighbouring ids.

    48 consecutive ids have different colours: the palette, then its lighter and its darker shades.
    """
    shade, place = divmod((person_id - 1) % (3 * len(_PALETTE)), len(_PALETTE))
    return (_PALETTE[place], mix(_PALETTE[place], _PAPER, 0.45), mix(_PALETTE[place], _INK, 0.3))[shade]


def draw_people(
    image: Image,
    people: Sequence[Person],
    joint_set: JointSet,
    *,
    trails: Trails | None = None,
    joint_score_threshold: float = 0.3,
    boxes: bool = True,
    labels: bool = True,
) -> Image:
    """Draw people onto a copy of the picture.

        trails = posewire.Trails()
        with client.track("walk.mp4", keep_images=True) as stream:
            for result in stream:
                if result.image is not None:  # None for frames that were superseded or cannot be read
                    joint_set = stream.info.joint_set
                    picture = posewire.draw_people(result.image, result.people, joint_set, trails=trails)

    Args:
        image: `(h, w, 3)` uint8 RGB; not changed.
        people: of this frame.
        joint_set: of the poses; `stream.info.joint_set`.
        trails: the paths over the previous frames; this frame is added.
        joint_score_threshold: joints with a lower score, and limbs that end in them, are left out.
        boxes: draw the boxes.
        labels: draw the ids.

    Returns:
        `(h, w, 3)` uint8 RGB.

    Raises:
        InvalidSettings: `image` has another type or shape, or `people` have another number of joints or a box that is
            not finite.
    """
    fault = picture_fault(image)
    if fault:
        raise InvalidSettings(f"image is no picture: {fault}")
    check_joints(people, joint_set)
    if endless := [person.id for person in people if not np.isfinite(person.box).all()]:
        raise InvalidSettings(f"person {endless[0]} has a box that is not finite; give pixels")
    canvas = np.ascontiguousarray(image).copy()
    # One unit is a pixel of a picture of about 960x540.
    unit = max(0.5, math.sqrt(canvas.shape[0] * canvas.shape[1]) / 720)
    if trails is not None:
        trails.update(people, joint_set, joint_score_threshold)
        paths = trails.paths()
        for person in people:
            _draw_trail(canvas, paths[person.id], color_of(person.id), unit)
    # Nearest people last: the lower their feet in the picture, the nearer they are to the camera.
    for person in sorted(people, key=lambda person: float(person.box[1] + person.box[3])):
        if boxes:
            _draw_box(canvas, person, unit)
        _draw_skeleton(canvas, person, joint_set, joint_score_threshold, unit)
    if labels:
        _draw_labels(canvas, people, unit)
    return canvas


def _draw_skeleton(canvas: Image, person: Person, joint_set: JointSet, threshold: float, unit: float) -> None:
    """Draw limbs with a dark rim; left limbs are lighter and right limbs darker than the colour of the id."""
    base = color_of(person.id)
    # Thinner for people far away, so that limbs do not merge into a blob.
    width = float(np.clip(0.016 * max(person.box[2], person.box[3]), 1.0, 5.0 * unit))
    shown = person.joints[:, 2] >= threshold
    limbs = []
    places: list[Point] = [(x, y) for x, y, _ in person.joints.tolist()]
    for a, b in _edges(joint_set):
        if shown[a] and shown[b]:
            names = joint_set.names[a], joint_set.names[b]
            share = 0.55 if (_FACE | _NECK).issuperset(names) else 1.0
            limbs.append((places[a], places[b], _side_color(base, names), width * share))
    shoulders = joint_rows(joint_set, ("left_shoulder", "right_shoulder"))
    neck = joint_rows(joint_set, ("neck", "head_bottom"))
    if len(shoulders) == 2 and neck and shown[shoulders].all() and shown[neck[0]]:
        middle = person.joints[shoulders, :2].mean(axis=0).tolist()
        limbs.append((places[neck[0]], (middle[0], middle[1]), base, width * 0.55))
    dots = [
        (places[k], _side_color(base, (name,)), width * (0.5 if name in _FACE else 0.85))
        for k, name in enumerate(joint_set.names)
        if shown[k]
    ]
    rim = max(1.0, 0.35 * width)
    for start, end, _, thickness in limbs:
        draw_line(canvas, start, end, _INK, thickness + 2 * rim)
    for centre, _, radius in dots:
        draw_dot(canvas, centre, _INK, radius + rim)
    for start, end, color, thickness in limbs:
        draw_line(canvas, start, end, color, thickness)
    for centre, color, radius in dots:
        draw_dot(canvas, centre, mix(color, _PAPER, 0.45), radius)


def _draw_box(canvas: Image, person: Person, unit: float) -> None:
    """Draw a faint frame with strong corners."""
    left, top, right, bottom = map(float, person.box_xyxy)
    if not (right > left and bottom > top):
        return
    color = color_of(person.id)
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        with Blend(canvas, (start, end), margin=2 * unit, opacity=0.45) as layer:
            layer.line(start, end, color, max(1.0, unit))
    arm = min(0.22 * min(right - left, bottom - top), 26 * unit)
    for (x, y), (towards_x, towards_y) in zip(corners, ((1, 1), (-1, 1), (-1, -1), (1, -1)), strict=True):
        for end in ((x + towards_x * arm, y), (x, y + towards_y * arm)):
            draw_line(canvas, (x, y), end, color, max(1.0, 2 * unit))


def _draw_labels(canvas: Image, people: Sequence[Person], unit: float) -> None:
    """Draw ids on plates of their colour, above the boxes, or inside if there is no room; dark or light text."""
    height, width = canvas.shape[:2]
    pad = max(2, round(4 * unit))
    rows: list[tuple[int, int, int]] = []  # left, right, top of the plates so far
    for person in people:
        text = glyphs(str(person.id), max(0.4, 0.55 * unit), max(1, round(unit)))
        plate_height, plate_width = text.shape[0] + 2 * pad, text.shape[1] + 2 * pad
        x = int(np.clip(round(float(person.box[0])), 0, max(0, width - plate_width)))
        above = round(float(person.box[1])) - plate_height - round(unit)
        y = int(np.clip(above if above >= 0 else round(float(person.box[1])), 0, max(0, height - plate_height)))
        while y > plate_height and any(
            left < x + plate_width and x < right and abs(y - top) < plate_height for left, right, top in rows
        ):
            y -= plate_height  # labels of people close to each other are stacked
        rows.append((x, x + plate_width, y))
        color = color_of(person.id)
        brightness = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
        cv2.rectangle(canvas, (x, y), (x + plate_width - 1, y + plate_height - 1), color, cv2.FILLED)
        part = canvas[y + pad : y + pad + text.shape[0], x + pad : x + pad + text.shape[1]]
        cover = text[: part.shape[0], : part.shape[1], None]
        part[:] = part + (np.array(_INK if brightness > 120 else _PAPER) - part) * cover


def _draw_trail(canvas: Image, path: list[tuple[float, Point]], color: Color, unit: float) -> None:
    """Draw a line that becomes thinner and fainter with age."""
    steps = 4
    for step in range(steps):
        low, high = step / steps, (step + 1) / steps
        segments = [(start, end) for (_, start), (fresh, end) in pairwise(path) if low < fresh <= high]
        if segments:
            points = [point for segment in segments for point in segment]
            thickness = max(1.0, (0.8 + 1.7 * high) * unit)
            with Blend(canvas, points, margin=thickness + 1, opacity=0.2 + 0.55 * high) as layer:
                for start, end in segments:
                    layer.line(start, end, color, thickness)


def _edges(joint_set: JointSet) -> list[tuple[int, int]]:
    """The limbs to draw: those from ears to shoulders only if the joint set has no neck."""
    has_neck = not _NECK.isdisjoint(joint_set.names)
    return [
        edge
        for edge in joint_set.edges
        if not (has_neck and {joint_set.names[k].partition("_")[2] for k in edge} == {"ear", "shoulder"})
    ]


def _side_color(base: Color, names: Iterable[str]) -> Color:
    sides = {name.partition("_")[0] for name in names}
    if "left" in sides and "right" not in sides:
        return mix(base, _PAPER, 0.3)
    if "right" in sides and "left" not in sides:
        return mix(base, _INK, 0.22)
    return base
