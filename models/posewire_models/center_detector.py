"""The person detector of the nano bundle: "Objects as Points" on the pose network's own trunk and head.

Source: Zhou, Wang, Krähenbühl, "Objects as Points", 2019 (its ResNet variant is a ResNet with the deconvolution head of
Simple Baselines), and the heads of `src/lib/models/networks/msra_resnet.py` of CenterNet: `hm` the logits of a person's
centre, `wh` the box size and `reg` the centre's sub-cell offset, both in cells of the output map.

A centre at input pixel x lies in cell floor(x / stride) with offset reg = x / stride - floor(x / stride).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from posewire_models.deconv_head import MOST_CHANNELS, DeconvNetConfig, deconv_head
from posewire_models.network import Network
from posewire_models.trunks import TRUNKS, build_trunk, has_whole_channels, trunk_stride

__all__ = ["CenterDetector", "CenterDetectorConfig", "CenterMaps", "decode_centers"]


@dataclass(frozen=True, kw_only=True)
class CenterDetectorConfig(DeconvNetConfig):
    """Settings of `CenterDetector`.

    Attributes:
        trunk: `resnet18` ... `resnet152`, `mobilenet_v2`, or `yolox_nano`, which ends at stride 8 and needs one
            transposed convolution to reach stride 4.
        width: factor on the trunk's channels, which must stay whole numbers: a multiple of 1/64 for a ResNet, of 1/8
            for YOLOX-nano.
        head_channels: channels of the 3x3 convolution in each of the three heads, at most `MOST_CHANNELS`.
    """

    input_size: tuple[int, int] = (320, 320)
    trunk: str = "resnet18"
    width: float = 1.0
    head_channels: int = 64

    def __post_init__(self) -> None:
        if self.trunk not in TRUNKS:
            raise ValueError(f"unknown trunk {self.trunk!r}; known trunks: {', '.join(TRUNKS)}")
        super().__post_init__()
        if not 0 < self.width <= 4 or not has_whole_channels(self.trunk, self.width):
            raise ValueError(
                f"width {self.width} must be in (0, 4] and give {self.trunk} whole channels; 1.0 is the published "
                "network"
            )
        if not 1 <= self.head_channels <= MOST_CHANNELS:
            raise ValueError(f"head_channels {self.head_channels} must be in 1..{MOST_CHANNELS}")

    @property
    def trunk_stride(self) -> int:
        """Input pixels per cell of the head's input."""
        return trunk_stride(self.trunk)


class CenterMaps(NamedTuple):
    """Output of `CenterDetector`, `(b, channels, h/4, w/4)` each."""

    hm: Tensor
    """1 channel: logits of a person's centre."""
    wh: Tensor
    """2 channels: width and height of the box, in cells."""
    reg: Tensor
    """2 channels: x and y offset of the centre within its cell, in cells."""


class CenterDetector(Network):
    """`(b, 3, h, w)` normalised RGB images to `CenterMaps`."""

    config: CenterDetectorConfig
    output_names = CenterMaps._fields

    def __init__(self, config: CenterDetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = build_trunk(config.trunk, config.width)
        self.deconv_layers = deconv_head(self.trunk.trunk_channels, config)
        self.hm = self._head(1)
        self.wh = self._head(2)
        self.reg = self._head(2)
        # A prior of 0.1 for a centre: the focal loss must not start with every cell positive (RetinaNet, section 4.1).
        nn.init.constant_(self.hm[-1].bias, -math.log((1 - 0.1) / 0.1))  # type: ignore[arg-type]

    def _head(self, channels: int) -> nn.Sequential:
        hidden = self.config.head_channels
        return nn.Sequential(
            nn.Conv2d(self.config.deconv_filters[-1], hidden, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
        )

    def forward(self, images: Tensor) -> CenterMaps:
        """Centre, size and offset maps of the images."""
        features = self.deconv_layers(self.trunk(images))  # (b, deconv_filters[-1], h/4, w/4)
        return CenterMaps(self.hm(features), self.wh(features), self.reg(features))


def decode_centers(maps: CenterMaps, stride: int, top_k: int = 100) -> tuple[Tensor, Tensor]:
    """The `top_k` best centres of each image as boxes. Centres are maxima of 3x3 neighbourhoods, so NMS is not needed.

    Args:
        maps: output of `CenterDetector`.
        stride: input pixels per cell.
        top_k: boxes kept per image.

    Returns:
        boxes `(b, top_k, 4)` xyxy in input pixels and scores `(b, top_k)`, best first. Where an image has fewer peaks
        than `top_k`, the remaining scores are 0.
    """
    hm, wh, reg = maps
    batch, _, _, width = hm.shape
    heat = hm.sigmoid()
    peaks = heat * (functional.max_pool2d(heat, 3, stride=1, padding=1) == heat)
    scores, cells = peaks.view(batch, -1).topk(min(top_k, peaks[0].numel()))  # (b, k)
    both = cells.unsqueeze(1).expand(-1, 2, -1)
    size = wh.view(batch, 2, -1).gather(2, both).transpose(1, 2)  # (b, k, 2)
    offset = reg.view(batch, 2, -1).gather(2, both).transpose(1, 2)
    center = torch.stack((cells % width, cells // width), dim=2) + offset
    return torch.cat((center - size / 2, center + size / 2), dim=2) * stride, scores
