"""Transposed convolutions computed as ordinary convolutions of their input.

Source: Shi et al., "Is the deconvolution layer the same as a convolutional layer?", 2016. Output pixels whose rows and
columns have the same remainders modulo the stride depend on the same part of the kernel, so each such set of pixels is
a convolution of the input. The sets are interleaved at the end.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["SubPixelConvolution"]


class SubPixelConvolution(nn.Module):
    """The same function as `deconv`, with the same weights and as many multiply-adds.

    Raises:
        ValueError: `deconv` is not one that `fits`.
    """

    def __init__(self, deconv: nn.ConvTranspose2d) -> None:
        super().__init__()
        if not self.fits(deconv):
            raise ValueError(f"{deconv} does not enlarge its input by its stride")
        self._stride = deconv.stride[0]
        self.convs, self._paddings = nn.ModuleList(), []
        for row, column in product(range(self._stride), repeat=2):
            rows, above, below = _taps(row, deconv, axis=0)
            columns, left, right = _taps(column, deconv, axis=1)
            conv = nn.Conv2d(deconv.in_channels, deconv.out_channels, (len(rows), len(columns)))
            with torch.no_grad():
                conv.weight.copy_(deconv.weight[:, :, rows][:, :, :, columns].transpose(0, 1))
            conv.bias = deconv.bias
            self.convs.append(conv)
            self._paddings.append((left, right, above, below))

    @staticmethod
    def fits(deconv: nn.ConvTranspose2d) -> bool:
        """Whether it enlarges its input by its stride, which is that of both axes, and has no groups or dilation."""
        sizes = zip(deconv.kernel_size, deconv.padding, deconv.output_padding, strict=True)
        stride, other = deconv.stride
        return (deconv.groups, deconv.dilation, other) == (1, (1, 1), stride) and all(
            isinstance(padding, int) and kernel - 2 * padding + extra == stride <= kernel
            for kernel, padding, extra in sizes
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(b, c, h, w)` to `(b, filters, stride * h, stride * w)`."""
        parts = [conv(functional.pad(x, around)) for conv, around in zip(self.convs, self._paddings, strict=True)]
        return functional.pixel_shuffle(torch.stack(parts, dim=2).flatten(1, 2), self._stride)


def _taps(remainder: int, deconv: nn.ConvTranspose2d, axis: int) -> tuple[list[int], int, int]:
    """The input pixels that output pixels `stride * q + remainder` depend on.

    Returns:
        The kernel's index for each of them, in their order; how many of them lie before and after pixel q.
    """
    kernel, stride, padding = deconv.kernel_size[axis], deconv.stride[axis], int(deconv.padding[axis])
    before = (kernel - 1 - remainder - padding) // stride
    after = (remainder + padding) // stride
    return [remainder + padding - stride * step for step in range(-before, after + 1)], before, after
