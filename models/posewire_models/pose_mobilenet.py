"""PoseMobileNet: the paper's deconvolution head on torchvision's MobileNetV2, for machines without a GPU.

The head is the one of Simple Baselines (ECCV 2018, section 2); `features` is named as in torchvision, so a classifier's
weights load into it strictly.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from posewire_models.deconv_head import deconv_head
from posewire_models.pose_resnet import PoseNetConfig, heatmap_layer
from posewire_models.trunks import MobileNetV2Trunk

__all__ = ["PoseMobileNet", "PoseMobileNetConfig"]


@dataclass(frozen=True, kw_only=True)
class PoseMobileNetConfig(PoseNetConfig):
    """Settings of `PoseMobileNet`.

    Attributes:
        width: torchvision's `width_mult` of the trunk. The head's width is `deconv_filters`.
    """

    input_size: tuple[int, int] = (128, 96)
    deconv_filters: tuple[int, ...] = (128, 128, 128)
    width: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.1 <= self.width <= 4:
            raise ValueError(f"width {self.width} must be in 0.1..4; 1.0 is the published network")


class PoseMobileNet(MobileNetV2Trunk):
    """`(b, 3, h, w)` normalised RGB crops to `(b, joints, h/4, w/4)` heatmaps."""

    def __init__(self, config: PoseMobileNetConfig) -> None:
        super().__init__(config.width)
        self.config = config
        self.deconv_layers = deconv_head(self.trunk_channels, config)
        self.final_layer = heatmap_layer(config)

    def forward(self, images: Tensor) -> Tensor:
        """Heatmaps, about 0..1, of the crops."""
        heatmaps: Tensor = self.final_layer(self.deconv_layers(super().forward(images)))
        return heatmaps
