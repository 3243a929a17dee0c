"""Decoding JPEG on a GPU: by its JPEG engines if it has them, which cost neither CPU time nor GPU arithmetic."""

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
    # Imported here and below, because it takes three seconds; the import registers the operator.
    import torchvision.io  # noqa: F401

    return hasattr(torch.ops.image, "decode_jpegs_cuda")


def decode_jpegs(pictures: Sequence[bytes], device: torch.device) -> list[Tensor]:
    """Decode baseline colour JPEGs. It blocks, and is to be called from one thread.

    Returns:
        uint8 `(h, w, 3)` RGB each, on `device`, complete; planar in memory.

    Raises:
        RuntimeError: one of them cannot be decoded; it is unknown which.
    """
    from torchvision.io import ImageReadMode

    encoded = [torch.from_numpy(np.frombuffer(picture, np.uint8).copy()) for picture in pictures]
    stream = _stream(device)
    # The operator itself, because torchvision.io.decode_jpeg around it gives a deprecation warning at each call.
    with torch.cuda.stream(stream):
        planes = torch.ops.image.decode_jpegs_cuda(encoded, ImageReadMode.RGB.value, device)
    # nvJPEG reads `encoded` and writes on a stream of its own; this one waits for it.
    stream.synchronize()
    return [picture.permute(1, 2, 0) for picture in planes]


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    # Nothing else runs on it, so memory that it reuses is free when nvJPEG, which is not ordered with it, writes there.
    # Torch hands out the same 32 streams again and again, but others for each priority.
    return torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]
