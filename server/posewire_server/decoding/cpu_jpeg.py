"""JPEG decoding on the CPU with libjpeg-turbo.

OpenCV decodes the same pixels with the same library, but takes twice as long. It also fills the missing parts of a
damaged picture with grey, while libjpeg writes a line to standard error.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import simplejpeg

from posewire_server.errors import Undecodable

__all__ = ["decode_jpeg"]

# Warnings of libjpeg about missing or wrong pixels.
_DAMAGE = ("premature end", "bad huffman code", "bad arithmetic code", "instead of rst")
# Data left over at the end indicate that decoding has lost track; but some cameras append a few bytes to every picture,
# or pad it with zeros.
_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_MOST_LEFT_OVER = 16


def decode_jpeg(data: bytes) -> npt.NDArray[np.uint8] | None:
    """Pixels `(h, w, 3)` in RGB, as stored; None if this decoder does not support the JPEG.

    A JPEG has no checksum: damage is noticed only if the decoder runs out of data or has too much left over.

    Args:
        data: a complete file whose header has been checked, since the announced size is allocated.

    Raises:
        Undecodable: the data is damaged.
    """
    pixels: npt.NDArray[np.uint8]
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB")
    except ValueError as error:  # also for warnings
        if _is_damage(str(error), data):
            raise Undecodable(f"the JPEG is damaged: {str(error).removeprefix('Corrupt JPEG data: ')}") from error
        try:
            pixels = simplejpeg.decode_jpeg(data, "RGB", strict=False)
        except ValueError:
            return None
    return pixels


def _is_damage(warning: str, data: bytes) -> bool:
    if any(words in warning.lower() for words in _DAMAGE):
        return True
    left_over = _LEFT_OVER.search(warning)
    if left_over is None:
        return False
    end = data.rfind(b"\xff\xd9")
    filling = end - len(data[:end].rstrip(b"\0\xff"))
    return int(left_over[1]) > filling + _MOST_LEFT_OVER
