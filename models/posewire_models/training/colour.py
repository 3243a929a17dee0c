"""Changes of colour and sharpness, for whole batches and on the training device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["recolour"]


def recolour(images: Tensor, generator: torch.Generator, *, colour: float, blur: float) -> Tensor:
    """Random changes of brightness, contrast, saturation and tint, and blur for some images.

    Args:
        images: `(b, 3, h, w)` float 0..255, h and w even.
        generator: on the CPU; the only source of randomness.
        colour: strength, 0..1.
        blur: probability.
    """
    numbers = torch.rand(len(images), 8, generator=generator).to(images.device)[:, :, None, None, None]
    if blur:
        coarse = functional.interpolate(
            functional.avg_pool2d(images, 2), scale_factor=2, mode="bilinear", align_corners=False
        )
        images = torch.where(numbers[:, 0] < blur, torch.lerp(images, coarse, numbers[:, 1]), images)
    if colour:
        signed = colour * (2 * numbers - 1)
        grey = images.mean(dim=1, keepdim=True)
        images = grey + (images - grey) * (1 + signed[:, 2])
        tint = 1 + 0.25 * signed[:, 3:6, :, :, 0]
        middle = images.mean(dim=(1, 2, 3), keepdim=True)
        images = (images - middle) * tint * (1 + 0.5 * signed[:, 6]) + middle * (1 + 0.5 * signed[:, 7])
        images = images.clamp(0, 255)
    return images
