"""Settings of a synthetic scene, and the named presets."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

__all__ = ["PRESETS", "Choreography", "SceneConfig"]


class Choreography(StrEnum):
    """How people move."""

    TERRITORY = "territory"
    """People keep to their own parts of the ground, walk, turn and wave; now and then one leaves and returns."""
    STROLL = "stroll"
    """People walk anywhere, stop, leave and return."""
    CROSS = "cross"
    """People walk from one side to the other and back, so that paths cross all the time."""


# name: (lowest, highest, unit or remark), for both the check and its message.
_RANGES: dict[str, tuple[float, float, str]] = {
    "width": (64, 4096, "pixels"),
    "height": (64, 4096, "pixels"),
    "people": (0, 40, "people"),
    "frames": (1, 1_000_000, "frames"),
    "fps": (1.0, 240.0, "frames a second"),
    "seed": (0, 2**63 - 1, ""),
    "speed": (0.1, 5.0, "times walking speed"),
    "smallest_person": (0.1, 1.5, "times the frame height"),
    "tallest_person": (0.1, 1.5, "times the frame height"),
    "pan": (0.0, 1.0, "times the frame width"),
    "zoom": (0.0, 1.0, "added to a zoom of 1"),
    "shake_px": (0.0, 20.0, "pixels"),
    "pillars": (0, 6, "pillars"),
    "sensor_noise": (0.0, 40.0, "grey levels"),
    "flicker": (0.0, 0.5, "of the brightness"),
    "motion_blur": (0.0, 1.0, "of the time between two frames"),
    "actions": (0.0, 1.0, "probability"),
}


@dataclass(frozen=True)
class SceneConfig:
    """Settings of a synthetic scene. The same settings always give the same bytes (with one version of OpenCV).

    Attributes:
        width: of the frames, in pixels.
        height: of the frames, in pixels.
        people: number of people in the scene; not all are always in the picture.
        frames: length of the scene.
        fps: frames per second; motion is defined in seconds, so a low rate means large displacements.
        seed: of all random numbers.
        speed: 1 is walking (1.3 m/s), 2.5 is running.
        choreography: how people move.
        smallest_person: height of the farthest people, in frame heights.
        tallest_person: height of the nearest people, in frame heights.
        pan: amplitude of the camera's pan, in frame widths.
        zoom: maximum zoom of the camera, added to 1.
        shake_px: amplitude of the shake of a hand-held camera.
        pillars: number of objects that people walk behind.
        sensor_noise: standard deviation of the sensor noise, in grey levels.
        flicker: amplitude of the brightness changes.
        motion_blur: exposure time in frame intervals; 0: sharp pictures. The ground truth is at the middle of the
            exposure.
        actions: probability that a person stops at a waypoint, mostly to wave, turn or crouch.

    Raises:
        ValueError: a setting is out of range; the message names it and the range.
    """

    width: int = 640
    height: int = 480
    people: int = 4
    frames: int = 250
    fps: float = 25.0
    seed: int = 0
    speed: float = 1.0
    choreography: Choreography = Choreography.STROLL
    smallest_person: float = 0.4
    tallest_person: float = 0.66
    pan: float = 0.0
    zoom: float = 0.0
    shake_px: float = 0.0
    pillars: int = 0
    sensor_noise: float = 2.0
    flicker: float = 0.02
    motion_blur: float = 0.0
    actions: float = 0.35

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name in _RANGES:
                self._check_range(field.name, whole=field.type == "int")
        if not isinstance(self.choreography, Choreography):
            names = ", ".join(Choreography)
            raise ValueError(f"choreography is {self.choreography!r}; use a Choreography, one of {names}")
        if self.smallest_person > self.tallest_person:
            raise ValueError(
                f"smallest_person {self.smallest_person} exceeds tallest_person {self.tallest_person}; swap them"
            )

    def _check_range(self, name: str, *, whole: bool) -> None:
        value = getattr(self, name)
        low, high, unit = _RANGES[name]
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            kind = "a whole number" if whole else "a number"
            raise ValueError(f"{name} is {value!r}; it must be {kind} in {low:g}..{high:g} {unit}".rstrip())
        if not low <= value <= high:  # nor is NaN
            raise ValueError(f"{name} is {value}; it must be in {low:g}..{high:g} {unit}".rstrip())

    @classmethod
    def preset(cls, name: str, **changes: Any) -> SceneConfig:
        """A named preset, with some settings changed: `SceneConfig.preset("crossing", seed=3)`.

        Raises:
            ValueError: unknown preset (the message lists them), or a setting out of range.
        """
        if name not in PRESETS:
            raise ValueError(f"unknown preset {name!r}; presets: {', '.join(PRESETS)}")
        return replace(PRESETS[name], **changes)


PRESETS: dict[str, SceneConfig] = {
    "easy": SceneConfig(people=3, choreography=Choreography.TERRITORY),
    "crossing": SceneConfig(people=4, choreography=Choreography.CROSS, actions=0.0),
    "occlusion": SceneConfig(people=4, pillars=3, choreography=Choreography.CROSS, actions=0.15),
    "fast-motion": SceneConfig(people=3, speed=2.6, fps=15.0, motion_blur=0.4, actions=0.1),
    "crowd": SceneConfig(people=12, smallest_person=0.28, tallest_person=0.55),
    "camera-motion": SceneConfig(people=4, pan=0.25, zoom=0.3, shake_px=1.5),
}
"""Named scenes: easy, crossing, occlusion, fast-motion, crowd, camera-motion."""
