"""Trunks: image classifiers up to their last feature map (C5, stride 32), with torchvision's names.

A pose net *is* a trunk with a head, so that its parameter names stay those of the published checkpoints; the person
detector *has* a trunk, which may also be YOLOX's, whose pyramid ends at stride 8. ResNets are implemented here to have
any width, because torchvision's own class fixes the stem at 64 channels.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from posewire_models.mobilenet_trunk import MobileNetV2Trunk
from posewire_models.picture_net import PICTURE_STRIDE
from posewire_models.yolox_trunk import YoloxTrunk

__all__ = ["RESNET_DEPTHS", "TRUNKS", "ResNetTrunk", "build_trunk", "has_whole_channels", "trunk_stride"]

# Depth -> blocks of the four stages.
_STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_STEM = 64  # channels
RESNET_DEPTHS = tuple(_STAGES)
TRUNKS = (*(f"resnet{depth}" for depth in RESNET_DEPTHS), "mobilenet_v2", "yolox_nano")
"""Names that `build_trunk` knows."""


class ResNetTrunk(nn.Module):
    """ResNet without its classifier (He et al., 2016; stride in the 3x3 convolution, as in torchvision and the paper).

    Args:
        depth: 18, 34, 50, 101 or 152.
        width: factor on all channel counts; 1.0 is the published network.
    """

    def __init__(self, depth: int, width: float) -> None:
        super().__init__()
        if depth not in _STAGES:
            raise ValueError(f"ResNet depth {depth} is unknown; choose one of {', '.join(map(str, RESNET_DEPTHS))}")
        # Imported here, because it takes three seconds and other trunks do not need it.
        from torchvision.models import resnet

        block = resnet.Bottleneck if depth >= 50 else resnet.BasicBlock
        repeats = _STAGES[depth]
        stem = _scaled(_STEM, width)
        self.conv1 = nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(block, stem, stem, repeats[0], stride=1)
        self.layer2 = _stage(block, stem * block.expansion, stem * 2, repeats[1], stride=2)
        self.layer3 = _stage(block, stem * 2 * block.expansion, stem * 4, repeats[2], stride=2)
        self.layer4 = _stage(block, stem * 4 * block.expansion, stem * 8, repeats[3], stride=2)
        self.trunk_channels: int = stem * 8 * block.expansion
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """`(b, 3, h, w)` to C5 `(b, trunk_channels, h/32, w/32)`."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))  # h/4
        x = self.layer1(x)
        x = self.layer2(x)  # h/8
        x = self.layer3(x)  # h/16
        c5: Tensor = self.layer4(x)  # h/32
        return c5


def build_trunk(name: str, width: float) -> ResNetTrunk | MobileNetV2Trunk | YoloxTrunk:
    """The trunk called `name`; raises `ValueError` listing the known ones."""
    if name == "mobilenet_v2":
        return MobileNetV2Trunk(width)
    if name == "yolox_nano":
        return YoloxTrunk(width)
    if name in TRUNKS:
        return ResNetTrunk(int(name.removeprefix("resnet")), width)
    raise ValueError(f"unknown trunk {name!r}; known trunks: {', '.join(TRUNKS)}")


def trunk_stride(name: str) -> int:
    """Input pixels per cell of the feature map of `build_trunk(name)`."""
    return YoloxTrunk.stride if name == "yolox_nano" else PICTURE_STRIDE


def has_whole_channels(name: str, width: float) -> bool:
    """Whether `build_trunk(name)` is possible at this width; MobileNetV2 rounds its channels and has any width."""
    parts = YoloxTrunk.width_parts if name == "yolox_nano" else _STEM
    return name == "mobilenet_v2" or not parts * width % 1


def _stage(block: Any, channels: int, planes: int, repeats: int, stride: int) -> nn.Sequential:
    out_channels = planes * block.expansion
    shortcut = None
    if stride != 1 or channels != out_channels:
        shortcut = nn.Sequential(
            nn.Conv2d(channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
        )
    first = block(channels, planes, stride, shortcut)
    return nn.Sequential(first, *(block(out_channels, planes) for _ in range(repeats - 1)))


def _scaled(channels: int, width: float) -> int:
    scaled = channels * width
    if not 0 < width <= 4 or scaled != int(scaled):
        raise ValueError(f"width {width} must be in (0, 4] and give whole channels: a multiple of 1/{channels}")
    return int(scaled)
