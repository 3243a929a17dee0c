"""JPEG pictures decoded on a GPU: by its own JPEG engines where it has them, which cost neither CPU nor arithmetic."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["decode_jpegs", "nvjpeg_is_here"]


def nvjpeg_is_here(device: torch.device) -> bool:
    """Whether torchvision can decode on `device`."""
    if device.type != "cuda":
        return False
    # Imported here and below, because it takes three seconds; it registers the operator.
    import torchvision.io  # noqa: F401

    return hasattr(torch.ops.image, "decode_jpegs_cuda")


def decode_jpegs(pictures: Sequence[bytes], device: torch.device) -> list[Tensor]:
    """Decode baseline colour JPEGs; to be called from one thread, which waits for them.

    Returns:
        uint8 `(h, w, 3)` RGB each, on `device`, complete; in memory they are planes.

    Raises:
        RuntimeError: one of them cannot be decoded; nothing says which.
    """
    from torchvision.io import ImageReadMode

    encoded = [torch.from_numpy(np.frombuffer(picture, np.uint8).copy()) for picture in pictures]
    stream = _stream(device)
    # The operator itself, not torchvision.io.decode_jpeg around it, which warns of its end at each call.
    with torch.cuda.stream(stream):
        planes = torch.ops.image.decode_jpegs_cuda(encoded, ImageReadMode.RGB.value, device)
    # nvJPEG reads `encoded` and writes on a stream of its own; this one waits for it.
    stream.synchronize()
    return [picture.permute(1, 2, 0) for picture in planes]


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    # Nothing else runs here, so memory that comes back to it is free when nvJPEG, unordered with it, writes there.
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
