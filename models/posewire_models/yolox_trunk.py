"""The trunk of YOLOX: CSPDarknet and its feature pyramid, made of depthwise convolutions.

Source: Ge et al., "YOLOX: Exceeding YOLO Series in 2021", and the authors' `yolox/models/{network_blocks, darknet,
yolo_pafpn}.py`, whose names are used for all parts but `gather`. YOLOX has three heads on three maps, a centre-heatmap
detector one head on one map: `gather` resizes the maps of strides 8, 16 and 32 to the first one's size and adds them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BaseConv", "CSPLayer", "DWConv", "YoloxPyramid", "YoloxTrunk"]

_STEM_CHANNELS = 64
_WIDTH, _REPEATS = 0.25, 1
"""YOLOX-nano: a quarter of the channels and a third of the 3 and 9 blocks per stage."""


class YoloxPyramid(nn.Module):
    """YOLOX-nano up to its feature pyramid.

    Args:
        width: factor on the channels of YOLOX-nano; 1.0 is the published network.
    """

    strides = (8, 16, 32)
    """Input pixels per cell of the three maps."""
    width_parts = 8
    """A width is a multiple of one over this, so that all channel counts are whole."""

    def __init__(self, width: float) -> None:
        super().__init__()
        if not 0 < width <= 4 or self.width_parts * width % 1:
            raise ValueError(f"width {width} must be in (0, 4] and a multiple of 1/{self.width_parts}")
        c = int(_STEM_CHANNELS * _WIDTH * width)
        self.backbone = CSPDarknet(c)
        self.lateral_conv0 = BaseConv(16 * c, 8 * c, 1)
        self.C3_p4 = CSPLayer(16 * c, 8 * c, _REPEATS, shortcut=False)
        self.reduce_conv1 = BaseConv(8 * c, 4 * c, 1)
        self.C3_p3 = CSPLayer(8 * c, 4 * c, _REPEATS, shortcut=False)
        self.bu_conv2 = DWConv(4 * c, 4 * c, stride=2)
        self.C3_n3 = CSPLayer(8 * c, 8 * c, _REPEATS, shortcut=False)
        self.bu_conv1 = DWConv(8 * c, 8 * c, stride=2)
        self.C3_n4 = CSPLayer(16 * c, 16 * c, _REPEATS, shortcut=False)
        self.pyramid_channels = (4 * c, 8 * c, 16 * c)

    def pyramid(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`(b, 3, h, w)` to maps `(b, pyramid_channels[i], h / strides[i], ...)`; h and w are multiples of 32."""
        c3, c4, c5 = self.backbone(images)  # h/8, h/16, h/32
        p5 = self.lateral_conv0(c5)  # h/32
        p4 = self.reduce_conv1(self.C3_p4(torch.cat((_twice(p5), c4), dim=1)))  # h/16
        n3 = self.C3_p3(torch.cat((_twice(p4), c3), dim=1))  # h/8
        n4 = self.C3_n3(torch.cat((self.bu_conv2(n3), p4), dim=1))  # h/16
        n5 = self.C3_n4(torch.cat((self.bu_conv1(n4), p5), dim=1))  # h/32
        return n3, n4, n5


class YoloxTrunk(YoloxPyramid):
    """The pyramid gathered at stride 8; arguments as for `YoloxPyramid`."""

    stride = 8

    def __init__(self, width: float) -> None:
        super().__init__(width)
        self.trunk_channels: int = self.pyramid_channels[0]
        self.gather = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, self.trunk_channels, 1, bias=False), nn.BatchNorm2d(self.trunk_channels))
            for channels in self.pyramid_channels
        )

    def forward(self, images: Tensor) -> Tensor:
        """`(b, 3, h, w)` to `(b, trunk_channels, h/8, w/8)`; h and w are multiples of 32."""
        maps = self.pyramid(images)
        fine, middle, coarse = (gather(level) for gather, level in zip(self.gather, maps, strict=True))
        return functional.silu(fine + _twice(middle + _twice(coarse)))


class CSPDarknet(nn.Module):
    """The backbone; returns C3, C4 and C5."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.stem = Focus(3, c)
        self.dark2 = nn.Sequential(DWConv(c, 2 * c, stride=2), CSPLayer(2 * c, 2 * c, _REPEATS))
        self.dark3 = nn.Sequential(DWConv(2 * c, 4 * c, stride=2), CSPLayer(4 * c, 4 * c, 3 * _REPEATS))
        self.dark4 = nn.Sequential(DWConv(4 * c, 8 * c, stride=2), CSPLayer(8 * c, 8 * c, 3 * _REPEATS))
        self.dark5 = nn.Sequential(
            DWConv(8 * c, 16 * c, stride=2),
            SPPBottleneck(16 * c, 16 * c),
            CSPLayer(16 * c, 16 * c, _REPEATS, shortcut=False),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`(b, 3, h, w)` to maps of strides 8, 16 and 32 with 4, 8 and 16 times `c` channels."""
        c3 = self.dark3(self.dark2(self.stem(images)))  # h/8
        c4 = self.dark4(c3)  # h/16
        return c3, c4, self.dark5(c4)


class BaseConv(nn.Module):
    """Convolution, batch norm, SiLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """`(b, in_channels, h, w)` to `(b, out_channels, h/stride, w/stride)`."""
        activated: Tensor = self.act(self.bn(self.conv(x)))
        return activated


class DWConv(nn.Module):
    """A depthwise 3x3 and a pointwise convolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.dconv = BaseConv(in_channels, in_channels, 3, stride, groups=in_channels)
        self.pconv = BaseConv(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`(b, in_channels, h, w)` to `(b, out_channels, h/stride, w/stride)`."""
        mixed: Tensor = self.pconv(self.dconv(x))
        return mixed


class Bottleneck(nn.Module):
    """1x1, then depthwise 3x3, with or without a shortcut."""

    def __init__(self, channels: int, *, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = BaseConv(channels, channels, 1)
        self.conv2 = DWConv(channels, channels)
        self.use_add = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        y: Tensor = self.conv2(self.conv1(x))
        return y + x if self.use_add else y


class CSPLayer(nn.Module):
    """Half of the channels go through bottlenecks, the other half bypass them."""

    def __init__(self, in_channels: int, out_channels: int, repeats: int, *, shortcut: bool = True) -> None:
        super().__init__()
        hidden = out_channels // 2
        self.conv1 = BaseConv(in_channels, hidden, 1)
        self.conv2 = BaseConv(in_channels, hidden, 1)
        self.conv3 = BaseConv(2 * hidden, out_channels, 1)
        self.m = nn.Sequential(*(Bottleneck(hidden, shortcut=shortcut) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        """`(b, in_channels, h, w)` to `(b, out_channels, h, w)`."""
        through, past = self.conv1(x), self.conv2(x)
        merged: Tensor = self.conv3(torch.cat((self.m(through), past), dim=1))
        return merged


class SPPBottleneck(nn.Module):
    """Max pooling over three neighbourhood sizes, concatenated with the map itself."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        hidden = in_channels // 2
        self.conv1 = BaseConv(in_channels, hidden, 1)
        self.m = nn.ModuleList(nn.MaxPool2d(kernel, stride=1, padding=kernel // 2) for kernel in (5, 9, 13))
        self.conv2 = BaseConv(4 * hidden, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`(b, in_channels, h, w)` to `(b, out_channels, h, w)`."""
        x = self.conv1(x)
        pooled: Tensor = self.conv2(torch.cat((x, *(pool(x) for pool in self.m)), dim=1))
        return pooled


class Focus(nn.Module):
    """Each 2x2 block of pixels becomes the channels of one, then a 3x3 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = BaseConv(4 * in_channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """`(b, in_channels, h, w)` to `(b, out_channels, h/2, w/2)`; h and w are even."""
        batch, channels, height, width = x.shape
        # Faster than to slice and concatenate. The four pixels of a block are in the order of its columns.
        blocks = x.reshape(batch, channels, height // 2, 2, width // 2, 2)
        pixels = blocks.permute(0, 5, 3, 1, 2, 4)  # (b, 2, 2, c, h/2, w/2)
        focused: Tensor = self.conv(pixels.reshape(batch, 4 * channels, height // 2, width // 2))
        return focused


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
