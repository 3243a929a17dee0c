"""YOLOX with one class, people: the network of the nano bundle's detector.

Source: Ge et al., "YOLOX: Exceeding YOLO Series in 2021", and the authors' `yolox/models/yolo_head.py`, whose names are
used for the parts of the head. Each cell of the strides 8, 16 and 32 predicts one box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from posewire_models.network import Network
from posewire_models.picture_net import PictureNetConfig
from posewire_models.yolox_trunk import BaseConv, DWConv, YoloxPyramid

__all__ = ["YoloxDetector", "YoloxDetectorConfig"]

_HEAD_CHANNELS = 64  # of YOLOX-nano
_PRIOR = 0.01
"""Prior probability of a person in a cell: training must not start with all cells positive (RetinaNet, section 4.1)."""


@dataclass(frozen=True, kw_only=True)
class YoloxDetectorConfig(PictureNetConfig):
    """Settings of `YoloxDetector`.

    Attributes:
        width: factor on all channels of YOLOX-nano, a multiple of 1/8.
    """

    input_size: tuple[int, int] = (416, 416)
    width: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.width <= 4 or YoloxPyramid.width_parts * self.width % 1:
            raise ValueError(f"width {self.width} must be in (0, 4] and a multiple of 1/{YoloxPyramid.width_parts}")


class YoloxDetector(YoloxPyramid, Network):
    """`(b, 3, h, w)` normalised RGB images to `(b, cells, 6)`, the cells of stride 8 first, row by row.

    For each cell: x and y of the box's centre relative to the cell's corner in cells, the logarithms of its width and
    height in cells, and the logits of objectness and of the class person. See `posewire_models.detectors.yolox_boxes`.
    """

    config: YoloxDetectorConfig
    output_names = ("cells",)

    def __init__(self, config: YoloxDetectorConfig) -> None:
        super().__init__(config.width)
        self.config = config
        self.head = YoloxHead(self.pyramid_channels, int(_HEAD_CHANNELS * config.width))

    def forward(self, images: Tensor) -> Tensor:
        """The predictions of each cell."""
        predictions: Tensor = self.head(self.pyramid(images))
        return predictions


class YoloxHead(nn.Module):
    """The decoupled head: class and box are predicted by separate branches."""

    def __init__(self, in_channels: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.stems = nn.ModuleList(BaseConv(each, channels, 1) for each in in_channels)
        self.cls_convs, self.reg_convs = (
            nn.ModuleList(nn.Sequential(DWConv(channels, channels), DWConv(channels, channels)) for _ in in_channels)
            for _ in range(2)
        )
        self.cls_preds, self.reg_preds, self.obj_preds = (
            nn.ModuleList(nn.Conv2d(channels, outputs, 1) for _ in in_channels) for outputs in (1, 4, 1)
        )
        for prediction in (*self.cls_preds, *self.obj_preds):
            nn.init.constant_(prediction.bias, -math.log((1 - _PRIOR) / _PRIOR))

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Maps `(b, in_channels[i], h/stride, w/stride)` of each stride to `(b, cells, 6)`, see `YoloxDetector`."""
        predictions = []
        for level, features in enumerate(maps):
            x = self.stems[level](features)
            person = self.cls_preds[level](self.cls_convs[level](x))
            where = self.reg_convs[level](x)
            parts = self.reg_preds[level](where), self.obj_preds[level](where), person
            predictions.append(torch.cat(parts, dim=1).flatten(2))  # (b, 6, cells of this stride)
        return torch.cat(predictions, dim=2).transpose(1, 2)
