"""JPEG decoding on the CPU, by libjpeg-turbo.

OpenCV decodes the same pixels by the same library, but takes twice as long, and fills up with grey what is missing of a
damaged picture, for which libjpeg writes a line to standard error.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import simplejpeg

from posewire_server.errors import Undecodable

__all__ = ["decode_jpeg"]

# What libjpeg warns of where pixels are missing or wrong. Its other warnings are of what is merely unusual, such as a
# few bytes too many, which some cameras send with every picture.
_DAMAGE = ("premature end", "bad huffman code", "bad arithmetic code", "instead of rst")


def decode_jpeg(data: bytes) -> npt.NDArray[np.uint8] | None:
    """Pixels `(h, w, 3)` in RGB, as they are stored; None of a JPEG that is not for this decoder.

    Args:
        data: a complete file, whose header was looked at: what it announces is allocated.

    Raises:
        Undecodable: its data are damaged.
    """
    pixels: npt.NDArray[np.uint8]
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB")
    except ValueError as error:  # warnings, too
        if any(words in str(error).lower() for words in _DAMAGE):
            raise Undecodable(f"the JPEG is damaged: {str(error).removeprefix('Corrupt JPEG data: ')}") from error
        try:
            pixels = simplejpeg.decode_jpeg(data, "RGB", strict=False)
        except ValueError:
            return None
    return pixels
