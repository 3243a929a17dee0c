"""The frames that are sent: a synthetic scene, encoded once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice

import cv2
import numpy as np
import numpy.typing as npt

from posewire.synth import Scene, SceneConfig
from posewire.v1 import pose_pb2, track_pb2
from posewire_server.benchmark.options import BenchmarkOptions
from posewire_server.tracking import Boxes, BoxSource

__all__ = ["Footage", "FootageFrame"]

# Frames that are made; a scene plays forth and back, so that the motion never jumps.
_SCENE_FRAMES = 50
_JPEG_QUALITY = 90


@dataclass(frozen=True, eq=False)
class FootageFrame:
    """One frame.

    Attributes:
        data: JPEG.
        boxes: `(n, 4)` xyxy of the people in it.
    """

    data: bytes
    boxes: npt.NDArray[np.float32]

    def given(self) -> Boxes:
        """The boxes as a caller's."""
        return Boxes.of(self.boxes, np.ones(len(self.boxes)), BoxSource.CALLER)

    def request(self, number: int, *, with_boxes: bool) -> track_pb2.TrackRequest:
        """The request that sends it."""
        frame = track_pb2.Frame(number=number, data=self.data)
        if with_boxes:
            frame.boxes.CopyFrom(
                pose_pb2.BoxList(
                    boxes=[
                        pose_pb2.Box(x=x1, y=y1, width=x2 - x1, height=y2 - y1)
                        for x1, y1, x2, y2 in self.boxes.tolist()
                    ]
                )
            )
        return track_pb2.TrackRequest(frame=frame)


class Footage:
    """An endless walk of people, at the size and with the number of people that the options say."""

    def __init__(self, options: BenchmarkOptions) -> None:
        scene = Scene(
            SceneConfig(width=options.width, height=options.height, people=options.people, frames=_SCENE_FRAMES, seed=1)
        )
        self._frames = [self._encode(frame.image, frame.truth.boxes) for frame in scene]

    def play(self, count: int) -> Iterator[FootageFrame]:
        """The first `count` frames."""
        return islice(cycle(self._frames + self._frames[-2:0:-1]), count)

    @property
    def frame_bytes(self) -> int:
        """Mean size of an encoded frame."""
        return sum(len(frame.data) for frame in self._frames) // len(self._frames)

    @staticmethod
    def _encode(image: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32]) -> FootageFrame:
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        return FootageFrame(data.tobytes(), boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)])
