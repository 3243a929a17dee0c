"""Small real estimators for tests of the service: people are bright rectangles on black."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from posewire.joints import COCO17
from posewire_models.flow_estimators import StillFlow
from posewire_models.frames import Detections, Frame
from posewire_server.decoding.decoders import PictureDecoder
from posewire_server.inference.networks import ModelNames, Networks

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


class RectangleDetector:
    """Finds bright rectangles, largest first."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        self.calls += 1
        return [self._detect(frame.pixels) for frame in frames]

    @staticmethod
    def _detect(pixels: Pixels) -> Detections:
        bright = (pixels.max(axis=2) > 128).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(bright)
        found = [row for row in stats[1:].tolist() if row[4] > 50]
        boxes = [(x, y, x + width - 1, y + height - 1) for x, y, width, height, _ in found]
        return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.9, np.float32))


class GridPose:
    """Puts the 17 joints on a grid inside the box, with high scores where the frame is bright."""

    def __call__(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[Floats]:
        return [self._pose(frame.pixels, xyxy) for frame, xyxy in zip(frames, boxes, strict=True)]

    @staticmethod
    def _pose(pixels: Pixels, xyxy: Floats) -> Floats:
        places = np.stack(np.meshgrid(np.linspace(0.1, 0.9, 3), np.linspace(0.1, 0.9, 6)), -1).reshape(-1, 2)[:17]
        corners, sides = xyxy[:, None, :2], (xyxy[:, 2:] - xyxy[:, :2])[:, None]
        joints = np.full((len(xyxy), 17, 3), 0.9, np.float32)
        joints[..., :2] = corners + places[None] * sides
        height, width, _ = pixels.shape
        places_x = np.clip(np.rint(joints[..., 0]).astype(int), 0, width - 1)
        places_y = np.clip(np.rint(joints[..., 1]).astype(int), 0, height - 1)
        joints[..., 2] = np.where(pixels[places_y, places_x].max(axis=-1) > 128, 0.9, 0.05)
        return joints


class Gate:
    """A pose estimator that waits until the test opens it, and signals when it has been reached."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        self._pose = GridPose()

    def __call__(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[Floats]:
        self.reached.set()
        if not self.open.wait(timeout=30):
            raise TimeoutError("the test never opened the gate")
        return self._pose(frames, boxes)


class ShyPose(GridPose):
    """Fails on every frame that has a pure blue pixel in its corner, as a network might on one strange input."""

    def __call__(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[Floats]:
        if any(frame.pixels[0, 0].tolist() == [0, 0, 255] for frame in frames):
            raise RuntimeError("blue corner")
        return super().__call__(frames, boxes)


class BlueShyPose(GridPose):
    """Fails on every frame with a blue corner, even after JPEG compression."""

    def __call__(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[Floats]:
        if any(frame.pixels[0, 0, 2] > 200 > frame.pixels[0, 0, 0] for frame in frames):
            raise RuntimeError("blue corner")
        return super().__call__(frames, boxes)


class HeldDecoding:
    """From now on, one picture is decoded only when the test lets it go.

    Attributes:
        begun: a thread has begun to decode it.
        go: lets it go.
        over: a thread has been let go.
    """

    def __init__(self, patch: pytest.MonkeyPatch, held: bytes) -> None:
        self.begun, self.go, self.over = threading.Event(), threading.Event(), threading.Event()
        decode = PictureDecoder.decode

        def decode_held(decoder: PictureDecoder, data: bytes) -> Any:
            if data == held:
                self.begun.set()
                self.go.wait(30)
                self.over.set()
            return decode(decoder, data)

        patch.setattr(PictureDecoder, "decode", decode_held)


def networks(*, detector: object = "rectangles", pose: object | None = None) -> Networks:
    """The stand-ins, as passed to a server."""
    return Networks(
        detector=RectangleDetector() if detector == "rectangles" else detector,  # type: ignore[arg-type]
        flow=StillFlow(),
        pose=pose if pose is not None else GridPose(),  # type: ignore[arg-type]
        joint_set=COCO17,
        names=ModelNames(
            bundle="stand-in", detector="rectangles" if detector else "", flow="still", pose="grid", bundle_version=1
        ),
        device="cpu",
    )


def picture(step: int = 0, people: int = 2, size: tuple[int, int] = (240, 320)) -> Pixels:
    """Frame `step` of a scene: `(h, w, 3)` RGB, people side by side who walk right by 2 pixels per frame."""
    pixels = np.zeros((*size, 3), np.uint8)
    for person in range(people):
        left = 10 + person * 60 + 2 * step
        pixels[60:180, left : left + 40] = 255
    return pixels


def jpeg(pixels: Pixels) -> bytes:
    return cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def png(pixels: Pixels) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()
