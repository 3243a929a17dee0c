"""Square cut-outs of pictures, as textures of pairs with known flow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from posewire.array_types import Image
from posewire.joints import COCO17
from posewire_models.training.pictures import read_rgb
from posewire_models.training.sources import SourceConfig, read_source

__all__ = ["read_textures", "squares"]


def read_textures(sources: Sequence[SourceConfig], root: Path, side: int, most: int, seed: int) -> Tensor:
    """Squares `(n, side, side, 3)` uint8 from at most `most` of the sources' pictures, chosen by the seed.

    Raises:
        ValueError: no picture can be read.
    """
    files = [
        picture.path for source in sources for picture in read_source(source, root, COCO17, held_out=False, faces=False)
    ]
    chosen = torch.randperm(len(files), generator=torch.Generator().manual_seed(seed))[:most]
    pictures = [read_rgb(files[row]) for row in chosen.tolist()]
    readable = [picture for picture in pictures if picture is not None]
    if not readable:
        raise ValueError("none of the sources' pictures can be read; check the paths in the config")
    return squares(readable, side)


def squares(pictures: Iterable[Image], side: int) -> Tensor:
    """The central square of each picture, `(n, side, side, 3)` uint8."""
    return torch.from_numpy(np.stack([_square(picture, side) for picture in pictures]))


def _square(picture: Image, side: int) -> Image:
    shorter = min(picture.shape[:2])
    top, left = (picture.shape[0] - shorter) // 2, (picture.shape[1] - shorter) // 2
    middle = picture[top : top + shorter, left : left + shorter]
    return np.asarray(cv2.resize(middle, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
