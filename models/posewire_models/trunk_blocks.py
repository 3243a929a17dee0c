"""The blocks of ResNet and of MobileNetV2, with the names that their parts have in torchvision.

Stated here, though torchvision has them: importing its models takes three seconds, a third of a server's start.
Sources: He et al., "Deep Residual Learning for Image Recognition", 2016; Sandler et al., "MobileNetV2", 2018.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["BasicBlock", "Bottleneck", "ConvNormReLU6", "InvertedResidual"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: ResNet-18 and 34.

    Args:
        channels: of the input.
        planes: of the output.
        stride: of the first convolution.
        downsample: what the shortcut goes through; None where it is the input itself.
    """

    expansion = 1

    def __init__(self, channels: int, planes: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """`(b, channels, h, w)` to `(b, planes, h/stride, w/stride)`."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        result: Tensor = self.relu(self.bn2(self.conv2(x)) + shortcut)
        return result


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut: ResNet-50 and deeper. The stride is in the 3x3 one.

    Args:
        channels: of the input.
        planes: of the convolutions inside; the output has `expansion` times as many.
        stride: of the 3x3 convolution.
        downsample: what the shortcut goes through; None where it is the input itself.
    """

    expansion = 4

    def __init__(self, channels: int, planes: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """`(b, channels, h, w)` to `(b, 4 * planes, h/stride, w/stride)`."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        result: Tensor = self.relu(self.bn3(self.conv3(x)) + shortcut)
        return result


class ConvNormReLU6(nn.Sequential):
    """Convolution, batch norm and ReLU6, which keep the size of the map if the stride is 1."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU6(inplace=True),
        )
        self.out_channels = out_channels


class InvertedResidual(nn.Module):
    """1x1 convolution to more channels, a 3x3 one for each channel, 1x1 back to few: MobileNetV2.

    Args:
        channels: of the input.
        out_channels: of the output. Where they are the same and the stride is 1 there is a shortcut.
        stride: of the 3x3 convolution.
        expansion: how many times the channels of the input are inside; at 1 the first convolution is left out.
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
