"""JPEG decoding on the CPU, by libjpeg-turbo.

OpenCV decodes the same pixels by the same library, but takes twice as long, and fills up with grey what is missing of a
damaged picture, for which libjpeg writes a line to standard error.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import simplejpeg

from posewire_server.errors import Undecodable

__all__ = ["decode_jpeg"]

# What libjpeg warns of where pixels are missing or wrong, in its words.
_DAMAGE = ("premature end", "bad huffman code", "bad arithmetic code", "instead of rst")
# Data that are left over at the end come from a scan that has gone astray; but some cameras send a few bytes too many
# with every picture, or fill up with zeros.
_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_MOST_LEFT_OVER = 16


def decode_jpeg(data: bytes) -> npt.NDArray[np.uint8] | None:
    """Pixels `(h, w, 3)` in RGB, as they are stored; None of a JPEG that is not for this decoder.

    Of damage, that is noticed which leaves the decoder without data or with too many: a JPEG has no checksum.

    Args:
        data: a complete file, whose header was looked at: what it announces is allocated.

    Raises:
        Undecodable: its data are damaged.
    """
    pixels: npt.NDArray[np.uint8]
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB")
    except ValueError as error:  # warnings, too
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
