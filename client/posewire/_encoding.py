"""Encoding pictures."""

from __future__ import annotations

import cv2
import numpy as np

from posewire.errors import InvalidSettings
from posewire.results import Image
from posewire.settings import Codec

__all__ = ["encode", "sniff"]

_LONGEST_SIDE = {".jpg": 65_500, ".png": 1_000_000}
"""Of a picture that the encoders take."""


def encode(image: Image, codec: Codec, jpeg_quality: int) -> bytes:
    """Encode a picture `(h, w, 3)` uint8 RGB as `jpeg`, `png` or `raw`.

    Releases the GIL while compressing, so that it is worth running in a thread.

    Raises:
        InvalidSettings: the picture is larger than the format allows, or the codec needs packets.
    """
    if codec == "raw":
        return image.tobytes()
    if codec == "png":
        # Level 1 takes a third of the default's time, for files a few per cent larger.
        suffix, parameters = ".png", [cv2.IMWRITE_PNG_COMPRESSION, 1]
    elif codec in ("jpeg", "passthrough"):
        suffix, parameters = ".jpg", [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]
    else:
        raise InvalidSettings(f"pictures cannot be sent as {codec}; use codec='jpeg', 'png' or 'raw'")
    height, width = image.shape[:2]
    if max(height, width) > _LONGEST_SIDE[suffix]:
        raise InvalidSettings(
            f"a picture of {width}x{height} cannot be encoded as {codec}: its sides may have at most"
            f" {_LONGEST_SIDE[suffix]} pixels; scale it down"
        )
    try:
        encoded, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), parameters)
    except cv2.error as error:
        encoded, data = False, np.empty(0, np.uint8)
        reason = error.err or str(error)
    else:
        reason = "the encoder refused it"
    if not encoded:
        raise InvalidSettings(f"a picture of {width}x{height} cannot be encoded as {codec}: {reason}")
    return data.tobytes()


def sniff(data: bytes) -> Codec:
    """The codec of an encoded picture, by its first bytes.

    Raises:
        InvalidSettings: it is neither JPEG nor PNG.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    raise InvalidSettings(f"the {len(data)} bytes are neither JPEG nor PNG; decode the picture and give the array")
