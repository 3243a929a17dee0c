"""Short videos, encoded as a camera would."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from posewire_server.decoding.decoders import Codec

_ENCODERS = {Codec.H264: "libx264", Codec.H265: "libx265"}


def encode(
    codec: Codec,
    pictures: Sequence[npt.NDArray[np.uint8]],
    *,
    b_frames: int = 0,
    key_every: int = 12,
    open_gop: bool = False,
    slices: int = 1,
) -> list[bytes]:
    """One access unit in Annex B format for each picture, in the order in which an encoder emits them."""
    height, width, _ = pictures[0].shape
    encoder = av.CodecContext.create(_ENCODERS[codec], "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.thread_count = 1
    options = {"preset": "veryfast", "bf": str(b_frames), "g": str(key_every), "slices": str(slices)}
    if codec is Codec.H265:
        options["x265-params"] = f"log-level=none:repeat-headers=1:pools=1:bframes={b_frames}:keyint={key_every}"
        if open_gop:
            options["x265-params"] += f":open-gop=1:min-keyint={key_every}:scenecut=0"
    if not b_frames:
        options["tune"] = "zerolatency"
    encoder.options = options
    units = []
    for index, pixels in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts = index
        units += [bytes(packet) for packet in encoder.encode(frame)]
    return units + [bytes(packet) for packet in encoder.encode(None)]
