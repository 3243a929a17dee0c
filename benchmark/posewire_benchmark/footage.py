"""The frames to send, already encoded. Cheap to import, since load generators import it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from posewire.array_types import Float32s
from posewire.v1 import pose_pb2, track_pb2

__all__ = ["Footage", "FootageCodec", "FootageFrame"]


class FootageCodec(StrEnum):
    """How frames are encoded."""

    JPEG = "jpeg"
    H264 = "h264"

    @property
    def on_the_wire(self) -> pose_pb2.Codec.ValueType:
        """Its number in the protocol."""
        return pose_pb2.CODEC_JPEG if self is FootageCodec.JPEG else pose_pb2.CODEC_H264


@dataclass(frozen=True, eq=False)
class FootageFrame:
    """One frame.

    Attributes:
        data: encoded.
        boxes: `(n, 4)` xyxy of the people in it.
    """

    data: bytes
    boxes: Float32s

    def request(self, number: int, *, with_boxes: bool) -> track_pb2.TrackRequest:
        """The request that sends it."""
        request = track_pb2.TrackRequest()
        # Filled in place: a message passed to the constructor of another would be copied, with its pixels.
        frame = request.frame
        frame.number = number
        frame.data = self.data
        if with_boxes:
            frame.boxes.SetInParent()  # an empty list of boxes differs from none given
            for x1, y1, x2, y2 in self.boxes.tolist():
                frame.boxes.boxes.add(x=x1, y=y1, width=x2 - x1, height=y2 - y1)
        return request


@dataclass(frozen=True, eq=False)
class Footage:
    """Frames that can be played in a loop.

    Attributes:
        name: of the clip.
        frames: of one loop.
        size: their (width, height).
        codec: how they are encoded.
    """

    name: str
    frames: tuple[FootageFrame, ...]
    size: tuple[int, int]
    codec: FootageCodec

    def play(self, count: int) -> Iterator[FootageFrame]:
        """The first `count` frames of the infinite loop."""
        return islice(cycle(self.frames), count)

    @property
    def frame_bytes(self) -> int:
        """Mean size of an encoded frame."""
        return sum(len(frame.data) for frame in self.frames) // len(self.frames)

    def save(self, path: Path) -> None:
        """Write it as .npz, for other processes."""
        np.savez(
            path,
            name=np.array(self.name),
            size=np.array(self.size),
            codec=np.array(self.codec.value),
            data=np.frombuffer(b"".join(frame.data for frame in self.frames), np.uint8),
            data_ends=np.cumsum([len(frame.data) for frame in self.frames]),
            boxes=np.concatenate([frame.boxes for frame in self.frames]),
            box_ends=np.cumsum([len(frame.boxes) for frame in self.frames]),
        )

    @staticmethod
    def load(path: Path) -> Footage:
        """Read what `save` wrote."""
        with np.load(path) as file:
            pieces = np.split(file["data"], file["data_ends"][:-1])
            boxes = np.split(file["boxes"], file["box_ends"][:-1])
            frames = tuple(FootageFrame(data.tobytes(), of) for data, of in zip(pieces, boxes, strict=True))
            width, height = file["size"].tolist()
            return Footage(str(file["name"]), frames, (width, height), FootageCodec(str(file["codec"])))
