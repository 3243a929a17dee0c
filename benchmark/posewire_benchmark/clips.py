"""Makes footage from synthetic scenes or real clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from posewire import open_source
from posewire._encoding import encode
from posewire.array_types import Float32s, Image
from posewire.cli.quantities import quantity
from posewire.synth import Scene, SceneConfig
from posewire_benchmark.footage import Footage, FootageCodec, FootageFrame
from posewire_server.ranges import check_range

__all__ = ["ClipOptions", "boxes_in_a_row", "make_footage"]

# The same as in the `posewire` command.
_JPEG_QUALITY = 90
_KEYFRAME_EVERY = 30


@dataclass(frozen=True, kw_only=True)
class ClipOptions:
    """What the frames show.

    Attributes:
        sources: real clips, assigned to streams in turn; empty: a synthetic scene.
        size: width and height of the frames; None: 1280x720 for a synthetic scene, unchanged for real clips.
        people: number of people in the synthetic scene, or of boxes sent with the frames of a real clip.
        frames: number of frames of a clip that are used, played forwards and backwards so that motion never jumps.
        codec: how frames are encoded.
        seed: of the synthetic scene.

    Raises:
        ValueError: a value is out of range.
    """

    sources: tuple[Path, ...] = ()
    size: tuple[int, int] | None = None
    people: int = 4
    frames: int = 50
    codec: FootageCodec = FootageCodec.JPEG
    seed: int = 1

    def __post_init__(self) -> None:
        check_range("people", self.people, 1, 40)
        check_range("frames", self.frames, 2, 10_000)
        if self.size is not None:
            _check_size(self.size)


def make_footage(options: ClipOptions) -> list[Footage]:
    """One clip per source, or a drawn one.

    Raises:
        SourceError: a source cannot be opened or read.
        ValueError: a source has fewer than two frames, or frames of an unusable size.
    """
    if options.sources:
        return [_filmed(source, options) for source in options.sources]
    return [_drawn(options)]


def boxes_in_a_row(people: int, size: tuple[int, int]) -> Float32s:
    """Boxes `(n, 4)` xyxy of people standing side by side, for frames without known people.

    Args:
        people: number of boxes.
        size: (width, height) of the frame.
    """
    width, height = size
    room = width / people
    person = min(0.8 * room, 0.3 * height)  # a standing person is about three times as tall as wide
    left = room * (np.arange(people) + 0.5) - person / 2
    top = (height - 3 * person) / 2
    return np.stack([left, np.full(people, top), left + person, np.full(people, top + 3 * person)], 1).astype(
        np.float32
    )


def _drawn(options: ClipOptions) -> Footage:
    width, height = options.size or (1280, 720)
    config = SceneConfig(width=width, height=height, people=options.people, frames=options.frames, seed=options.seed)
    shown = [(frame.image, _visible(frame.truth.boxes)) for frame in Scene(config)]
    return _encoded(f"synthetic scene, {quantity(options.people, 'person', 'people')}", shown, options.codec)


def _filmed(source: Path, options: ClipOptions) -> Footage:
    opened = open_source(source, max_frames=options.frames)
    try:
        images = [frame.image for frame in opened if frame.image is not None]
    finally:
        opened.close()
    if len(images) < 2:
        raise ValueError(f"{source} has {len(images)} frames that can be read; give a clip of two or more")
    if options.size is not None:
        images = [
            np.asarray(cv2.resize(image, options.size, interpolation=cv2.INTER_AREA), np.uint8) for image in images
        ]
    sizes = [(image.shape[1], image.shape[0]) for image in images]
    for size in set(sizes):
        try:
            _check_size(size)
        except ValueError as error:
            raise ValueError(f"{source} cannot be used as it is: its {error}; give --size, or another clip") from error
    if options.codec is FootageCodec.H264 and len(set(sizes)) > 1:
        told = ", ".join(f"{width}x{height}" for width, height in dict.fromkeys(sizes))
        raise ValueError(f"{source} has frames of {told}, but a stream of H.264 has one size; give --size")
    shown = [(image, boxes_in_a_row(options.people, size)) for image, size in zip(images, sizes, strict=True)]
    return _encoded(source.name, shown, options.codec)


def _check_size(size: tuple[int, int]) -> None:
    for name, value in zip(("width", "height"), size, strict=True):
        check_range(name, value, 64, 4096)


def _encoded(name: str, shown: Sequence[tuple[Image, Float32s]], codec: FootageCodec) -> Footage:
    """One loop: forwards, then backwards."""
    height, width, _ = shown[0][0].shape
    if codec is FootageCodec.JPEG:
        frames = [FootageFrame(encode(image, "jpeg", _JPEG_QUALITY), boxes) for image, boxes in shown]
        frames += frames[-2:0:-1]
    else:
        shown = [*shown, *shown[-2:0:-1]]
        units = _h264([image for image, _ in shown])
        frames = [FootageFrame(unit, boxes) for unit, (_, boxes) in zip(units, shown, strict=True)]
    return Footage(name, tuple(frames), (width, height), codec)


def _visible(boxes: Float32s) -> Float32s:
    return boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]


def _h264(images: Sequence[Image]) -> list[bytes]:
    """One access unit per picture, as from a camera: without reordering, starting with a keyframe."""
    height, width, _ = images[0].shape
    encoder = av.CodecContext.create("libx264", "w")
    if not isinstance(encoder, av.VideoCodecContext):
        raise RuntimeError("this PyAV has no H.264 encoder; use codec jpeg")
    # 4:2:0 has one chroma sample for four pixels.
    encoder.width, encoder.height, encoder.pix_fmt = width - width % 2, height - height % 2, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, _KEYFRAME_EVERY), Fraction(_KEYFRAME_EVERY)
    encoder.options = {"preset": "veryfast", "tune": "zerolatency", "bf": "0", "g": str(_KEYFRAME_EVERY)}
    units = []
    for index, image in enumerate(images):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[: encoder.height, : encoder.width]), "rgb24")
        frame.pts = index
        units += [bytes(packet) for packet in encoder.encode(frame)]
    return units + [bytes(packet) for packet in encoder.encode(None)]
