"""The trunk of MobileNetV2, stride 32, its parts named as in torchvision, so that weights load strictly.

Implemented here, though torchvision has it: importing torchvision's models takes three seconds, a third of the startup
of a server with the default bundle. Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
2018.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["InvertedResidual", "MobileNetV2Trunk"]

# Table 2 of the paper on MobileNetV2: expansion, channels, blocks, stride of the first of them.
_INVERTED_RESIDUALS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class MobileNetV2Trunk(nn.Module):
    """MobileNetV2 without its classifier (Sandler et al., 2018), stride 32, 1280 channels or more.

    Args:
        width: factor on the channel counts, which stay multiples of 8, as torchvision's `width_mult`; 1.0 is the
            published network.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        channels = _eights(32 * width)
        self.features = nn.Sequential(ConvNormReLU6(3, channels, 3, stride=2))
        for expansion, planes, repeats, first_stride in _INVERTED_RESIDUALS:
            out_channels = _eights(planes * width)
            for number in range(repeats):
                stride = first_stride if number == 0 else 1
                self.features.append(InvertedResidual(channels, out_channels, stride, expansion))
                channels = out_channels
        self.trunk_channels: int = _eights(1280 * max(1.0, width))
        self.features.append(ConvNormReLU6(channels, self.trunk_channels, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, images: Tensor) -> Tensor:
        """`(b, 3, h, w)` to `(b, trunk_channels, h/32, w/32)`."""
        features: Tensor = self.features(images)
        return features


class ConvNormReLU6(nn.Sequential):
    """Convolution, batch norm and ReLU6; keeps the size of the map if the stride is 1."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU6(inplace=True),
        )
        self.out_channels = out_channels


class InvertedResidual(nn.Module):
    """MobileNetV2's block: a 1x1 convolution to more channels, a depthwise 3x3 one, a 1x1 one back to few channels.

    Args:
        channels: of the input.
        out_channels: of the output. If equal to `channels` and the stride is 1, there is a shortcut.
        stride: of the 3x3 convolution.
        expansion: factor from the input's channels to those inside; at 1 the first convolution is left out.
    """

    def __init__(self, channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = channels * expansion
        self.conv = nn.Sequential(
            *([ConvNormReLU6(channels, inside, 1)] if expansion != 1 else []),
            ConvNormReLU6(inside, inside, 3, stride, groups=inside),
            nn.Conv2d(inside, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.has_shortcut = stride == 1 and channels == out_channels
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        """`(b, channels, h, w)` to `(b, out_channels, h/stride, w/stride)`."""
        result: Tensor = x + self.conv(x) if self.has_shortcut else self.conv(x)
        return result


def _eights(channels: float) -> int:
    """The nearest multiple of 8 that is not below nine tenths of `channels`, as in the published networks."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8
