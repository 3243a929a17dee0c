"""PoseResNet, the pose network of Simple Baselines: a ResNet, transposed convolutions, a 1x1 convolution to heatmaps.

Source: Xiao, Wu, Wei, ECCV 2018, section 2 and Table 2; attribute names as in the authors' `lib/models/pose_resnet.py`,
so their checkpoints load strictly.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from posewire_models.deconv_head import HeatmapNetwork, PoseNetConfig, deconv_head, heatmap_layer
from posewire_models.trunks import RESNET_DEPTHS, ResNetTrunk, has_whole_channels

__all__ = ["TABLE_2", "PoseResNet", "PoseResNetConfig"]


@dataclass(frozen=True, kw_only=True)
class PoseResNetConfig(PoseNetConfig):
    """Settings of `PoseResNet`; the defaults are row a of Table 2.

    Attributes:
        depth: 18, 34, 50, 101 or 152.
        width: factor on the trunk's channels, 1.0 as published, a multiple of 1/64.
    """

    depth: int = 50
    width: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth not in RESNET_DEPTHS:
            raise ValueError(f"depth {self.depth} must be one of {', '.join(map(str, RESNET_DEPTHS))}")
        if not 0 < self.width <= 4 or not has_whole_channels(f"resnet{self.depth}", self.width):
            raise ValueError(f"width {self.width} must be a multiple of 1/64 in (0, 4]; 1.0 is the published network")


TABLE_2 = {
    "a": PoseResNetConfig(),
    "b": PoseResNetConfig(deconv_filters=(256, 256), deconv_kernels=(4, 4)),
    "c": PoseResNetConfig(deconv_kernels=(2, 2, 2)),
    "d": PoseResNetConfig(deconv_kernels=(3, 3, 3)),
    "e": PoseResNetConfig(depth=101),
    "f": PoseResNetConfig(depth=152),
    "g": PoseResNetConfig(input_size=(128, 96)),
    "h": PoseResNetConfig(input_size=(384, 288)),
}
"""The networks of the paper's Table 2, by row letter."""


class PoseResNet(ResNetTrunk, HeatmapNetwork):
    """`(b, 3, h, w)` normalised RGB crops to `(b, joints, h/4, w/4)` heatmaps (h/8 with two deconvolutions)."""

    config: PoseResNetConfig

    def __init__(self, config: PoseResNetConfig) -> None:
        super().__init__(config.depth, config.width)
        self.config = config
        self.deconv_layers = deconv_head(self.trunk_channels, config)
        self.final_layer = heatmap_layer(config)

    def forward(self, images: Tensor) -> Tensor:
        """Heatmaps, about 0..1, of the crops."""
        heatmaps: Tensor = self.final_layer(self.deconv_layers(super().forward(images)))
        return heatmaps
