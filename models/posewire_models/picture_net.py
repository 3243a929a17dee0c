"""Input settings shared by all networks that take one picture."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "MOST_SIDE", "PICTURE_STRIDE", "PictureNetConfig"]

IMAGENET_MEAN = (123.675, 116.28, 103.53)
"""Mean of R, G, B in 0..255, as expected by the published ResNets."""
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Standard deviation of R, G, B in 0..255."""

PICTURE_STRIDE = 32
"""Input pixels per cell of the coarsest map of all these networks, a trunk's C5."""

MOST_SIDE = 4096
"""In pixels. A longer side of a network's input is a typing error, and needs more memory than machines have."""

# Ranges for pixels in 0..255. Deviations near 0 give numbers that are not finite, and joints that are nowhere.
_MEANS = (0, 255)
_DEVIATIONS = (0.001, 1000)


@dataclass(frozen=True, kw_only=True)
class PictureNetConfig:
    """Settings of the input.

    Attributes:
        input_size: (height, width) of the input in pixels, multiples of 32 up to `MOST_SIDE`.
        pixel_mean: mean of R, G, B in 0..255 that is subtracted from the pixels.
        pixel_std: divisor after that, 0.001..1000.

    Raises:
        ValueError: a value is out of its range; the message gives the range.
    """

    input_size: tuple[int, int] = (256, 192)
    pixel_mean: tuple[float, float, float] = IMAGENET_MEAN
    pixel_std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        sides = range(PICTURE_STRIDE, MOST_SIDE + 1, PICTURE_STRIDE)
        if len(self.input_size) != 2 or any(side not in sides for side in self.input_size):
            raise ValueError(
                f"input_size {self.input_size} must be (height, width) in positive multiples of {PICTURE_STRIDE} up to "
                f"{MOST_SIDE}"
            )
        for name, values, (least, most) in (
            ("pixel_mean", self.pixel_mean, _MEANS),
            ("pixel_std", self.pixel_std, _DEVIATIONS),
        ):
            if len(values) != 3 or not all(least <= value <= most for value in values):
                raise ValueError(f"{name} {values} must be three numbers (R, G, B) in {least}..{most}")
