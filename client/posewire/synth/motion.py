"""Motion of people: a script for every person, computed once, so that any moment of a scene can be rendered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from posewire.array_types import Float64s
from posewire.synth.body import BodyShape, Posture, stride_length
from posewire.synth.camera import Camera
from posewire.synth.config import Choreography, SceneConfig

__all__ = ["Script", "write_script"]


_WALK_M_S = 1.3
_WARM_UP_S = 1.0


class _Action(Enum):
    NONE = auto()
    WAVE = auto()
    TURN = auto()
    CROUCH = auto()


@dataclass(frozen=True)
class _Waypoint:
    across: float
    """-1 and 1 are the sides of the picture."""
    depth_m: float
    pause_s: float
    action: _Action


@dataclass(frozen=True)
class Script:
    """The motion of one person: one row per frame, from one frame before the first to one after the last.

    Attributes:
        track: `(frames + 2, 9)`: across, depth (metres), yaw, gait phase, walk, wave, wave phase, crouch, look. Yaw is
            0 towards the camera and grows towards the right of the picture; it is unwrapped, so it can be interpolated.
        wave_left: whether the left arm waves.
    """

    track: Float64s
    wave_left: bool

    def at(self, frame: float) -> tuple[float, float, float, Posture]:
        """Across, depth, yaw and posture at a frame number, which may be fractional."""
        place = float(np.clip(frame + 1.0, 0.0, len(self.track) - 1.0))
        low = min(int(place), len(self.track) - 2)
        row = self.track[low] + (place - low) * (self.track[low + 1] - self.track[low])
        across, depth, yaw, phase, walk, wave, wave_phase, crouch, look = row.tolist()
        return across, depth, yaw, Posture(phase, walk, wave, self.wave_left, wave_phase, crouch, look)


def write_script(config: SceneConfig, camera: Camera, shape: BodyShape, person: int) -> Script:
    """The script of person number `person`; it depends only on the arguments, including the seed."""
    rng = np.random.default_rng([config.seed, 17, person])
    walker = _Walker(config, camera, shape, rng, person)
    for _ in range(int(_WARM_UP_S * config.fps)):
        walker.step()
    return Script(np.array([walker.step() for _ in range(config.frames + 2)]), bool(rng.random() < 0.5))


class _Walker:
    """Moves one person from waypoint to waypoint, frame by frame."""

    def __init__(
        self, config: SceneConfig, camera: Camera, shape: BodyShape, rng: np.random.Generator, person: int
    ) -> None:
        self._camera, self._shape = camera, shape
        self._dt = 1.0 / config.fps
        self._pace = _WALK_M_S * config.speed * rng.uniform(0.82, 1.18) * shape.height / 1.72
        self._hurry = float(np.clip(0.35 + 0.65 * config.speed, 0.5, 1.5))
        self._waypoints = _waypoints(config, camera, rng, person)
        start = next(self._waypoints)
        self._target = next(self._waypoints)
        self._across = start.across * camera.half_width_m(start.depth_m)
        self._depth = start.depth_m
        self._speed = self._pace
        self._yaw = self._heading()
        self._phase = rng.uniform(0.0, 1.0)
        self._look_phase = rng.uniform(0.0, 2 * np.pi)
        self._walk, self._wave, self._crouch = self._hurry, 0.0, 0.0
        self._wave_phase = 0.0
        self._pausing_s = 0.0
        self._paused_at = start
        self._time = 0.0

    def _goal(self) -> tuple[float, float]:
        depth = self._target.depth_m
        return self._target.across * self._camera.half_width_m(depth), depth

    def _heading(self) -> float:
        across, depth = self._goal()
        return float(np.arctan2(across - self._across, -(depth - self._depth)))

    def step(self) -> list[float]:
        """Advance by one frame; returns the row of `Script.track` before it."""
        look = 0.25 * np.sin(0.9 * self._time + self._look_phase) + 0.1 * np.sin(2.3 * self._time)
        row = [self._across, self._depth, self._yaw, self._phase, self._walk, self._wave, self._wave_phase]
        row += [self._crouch, float(look)]
        self._time += self._dt
        pausing = self._pausing_s > 0.0
        if pausing:
            self._pausing_s -= self._dt
        else:
            self._advance()
        action = self._paused_at.action if pausing else _Action.NONE
        gait = 0.0 if pausing else self._hurry * self._speed / self._pace
        self._wave += ((action is _Action.WAVE) - self._wave) * min(1.0, 3.5 * self._dt)
        self._crouch += (0.8 * (action is _Action.CROUCH) - self._crouch) * min(1.0, 2.5 * self._dt)
        self._walk += (gait - self._walk) * min(1.0, 4.0 * self._dt)
        self._wave_phase += self._dt * 2 * np.pi * 1.4
        if action is _Action.TURN:
            self._yaw += self._dt * 2 * np.pi / 3.0
        elif pausing and action is not _Action.NONE:  # turns to the camera
            self._turn_to(0.0)
        return row

    def _turn_to(self, heading: float) -> float:
        """Turn at a human rate; returns the remaining angle."""
        missing = float(np.angle(np.exp(1j * (heading - self._yaw))))
        turn = float(np.clip(missing, -4.0 * self._dt * self._hurry, 4.0 * self._dt * self._hurry))
        self._yaw += turn
        return missing - turn

    def _advance(self) -> None:
        missing = self._turn_to(self._heading())
        wanted = self._pace * max(0.0, float(np.cos(missing))) ** 2
        self._speed += (wanted - self._speed) * min(1.0, 5.0 * self._dt)
        across, depth = self._goal()
        distance = float(np.hypot(across - self._across, depth - self._depth))
        moved = min(self._speed * self._dt, distance)
        self._across += moved * float(np.sin(self._yaw))
        self._depth -= moved * float(np.cos(self._yaw))
        self._depth = float(np.clip(self._depth, 0.9 * self._camera.nearest_m, 1.1 * self._camera.farthest_m))
        self._phase += moved / stride_length(self._shape, max(self._walk, 0.3))
        if distance < max(0.25, 1.5 * moved):
            self._paused_at, self._target = self._target, next(self._waypoints)
            self._pausing_s = self._paused_at.pause_s


def _waypoints(config: SceneConfig, camera: Camera, rng: np.random.Generator, person: int) -> Iterator[_Waypoint]:
    """Endless waypoints of one person; the first is where the person starts."""
    lane = _lane(config, camera, person)
    if config.choreography is Choreography.CROSS:
        yield from _crossing(config, camera, rng, person, lane)
    elif config.choreography is Choreography.TERRITORY:
        yield from _territory(config, camera, rng, person, lane)
    else:
        yield from _strolling(config, camera, rng, lane)


def _lane(config: SceneConfig, camera: Camera, person: int) -> float:
    """The person's own distance from the camera, so that bodies never intersect: lanes in shuffled order."""
    order = np.random.default_rng([config.seed, 29]).permutation(config.people)
    share = float(order[person] + 0.5) / config.people
    # Equal steps in apparent size, not in metres.
    return 1.0 / (1.0 / camera.farthest_m + share * (1.0 / camera.nearest_m - 1.0 / camera.farthest_m))


def _outside(config: SceneConfig, camera: Camera, depth_m: float) -> float:
    """`across` of a position that is out of view even when the camera pans."""
    return 1.0 + 2.0 * config.pan + 0.55 / camera.half_width_m(depth_m) * (1.0 if config.speed < 2 else 1.3)


def _pause(config: SceneConfig, rng: np.random.Generator) -> tuple[float, _Action]:
    if rng.random() >= config.actions:
        return 0.0, _Action.NONE
    action = (_Action.WAVE, _Action.TURN, _Action.CROUCH, _Action.NONE)[int(rng.integers(4))]
    return float(rng.uniform(1.0, 2.6)), action


def _strolling(config: SceneConfig, camera: Camera, rng: np.random.Generator, lane: float) -> Iterator[_Waypoint]:
    width = 1.0 + config.pan
    yield _Waypoint(float(rng.uniform(-0.9, 0.9)), lane, 0.0, _Action.NONE)
    while True:
        depth = lane * float(rng.uniform(0.94, 1.06))
        if rng.random() < 0.3:
            side = 1.0 if rng.random() < 0.5 else -1.0
            away_s = float(rng.uniform(0.2, 1.2))
            yield _Waypoint(side * _outside(config, camera, depth), depth, away_s, _Action.NONE)
        else:
            yield _Waypoint(float(rng.uniform(-0.85, 0.85)) * width, depth, *_pause(config, rng))


def _crossing(
    config: SceneConfig, camera: Camera, rng: np.random.Generator, person: int, lane: float
) -> Iterator[_Waypoint]:
    side = 1.0 if person % 2 else -1.0
    # Close lanes: people who cross occlude each other.
    depth = camera.nearest_m + 0.6 * (lane - camera.nearest_m)
    yield _Waypoint(side * float(rng.uniform(0.3, 1.0)), depth, 0.0, _Action.NONE)
    while True:
        side = -side
        if rng.random() < 0.35:
            yield _Waypoint(side * _outside(config, camera, depth), depth, float(rng.uniform(0.0, 0.8)), _Action.NONE)
        else:
            yield _Waypoint(side * float(rng.uniform(0.6, 0.9)), depth, *_pause(config, rng))


def _territory(
    config: SceneConfig, camera: Camera, rng: np.random.Generator, person: int, lane: float
) -> Iterator[_Waypoint]:
    half = 0.85 / config.people
    centre = -0.85 + half * (2 * person + 1)
    at_the_edge = person in (0, config.people - 1)
    yield _Waypoint(centre, lane, 0.0, _Action.NONE)
    while True:
        if at_the_edge and rng.random() < 0.2:
            side = -1.0 if person == 0 else 1.0
            yield _Waypoint(side * _outside(config, camera, lane), lane, float(rng.uniform(0.2, 1.0)), _Action.NONE)
        else:
            depth = lane * float(rng.uniform(0.9, 1.1))
            yield _Waypoint(centre + half * float(rng.uniform(-0.9, 0.9)), depth, *_pause(config, rng))
