"""PoseMobileNet: the paper's deconvolution head on MobileNetV2, for machines without a GPU.

The head is that of Simple Baselines (ECCV 2018, section 2); `features` is named as in torchvision, so a classifier's
weights load into it strictly. At stride 32 - 5x4 cells of a 160x128 crop - positions are lost: with `laterals` each
step of the head also gets the trunk's map of its size, as in a feature pyramid (Lin et al., 2017), for two per cent
more multiply-adds.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from posewire_models.deconv_head import LAYERS_A_STEP, HeatmapNetwork, PoseNetConfig, deconv_head, heatmap_layer
from posewire_models.mobilenet_trunk import InvertedResidual, MobileNetV2Trunk

__all__ = ["PoseMobileNet", "PoseMobileNetConfig"]

# The last block of torchvision's `features` at strides 16, 8, 4 and 2.
_LATERAL_BLOCKS = (13, 6, 3, 1)


@dataclass(frozen=True, kw_only=True)
class PoseMobileNetConfig(PoseNetConfig):
    """Settings of `PoseMobileNet`.

    Attributes:
        width: torchvision's `width_mult` of the trunk. The head's width is set by `deconv_filters`.
        laterals: whether the trunk's maps of strides 16, 8 and 4 are added to the head's. The paper has none.
    """

    input_size: tuple[int, int] = (128, 96)
    deconv_filters: tuple[int, ...] = (128, 128, 128)
    width: float = 1.0
    laterals: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.1 <= self.width <= 4:
            raise ValueError(f"width {self.width} must be in 0.1..4; 1.0 is the published network")
        if self.laterals and len(self.deconv_filters) > len(_LATERAL_BLOCKS):
            raise ValueError(
                f"{len(self.deconv_filters)} deconv_filters with laterals; the trunk has maps for at most "
                f"{len(_LATERAL_BLOCKS)} transposed convolutions"
            )


class PoseMobileNet(MobileNetV2Trunk, HeatmapNetwork):
    """`(b, 3, h, w)` normalised RGB crops to `(b, joints, h/4, w/4)` heatmaps."""

    config: PoseMobileNetConfig

    def __init__(self, config: PoseMobileNetConfig) -> None:
        super().__init__(config.width)
        self.config = config
        self.deconv_layers = deconv_head(self.trunk_channels, config)
        self.laterals = nn.ModuleDict()
        if config.laterals:
            for block, filters in zip(_LATERAL_BLOCKS, config.deconv_filters, strict=False):
                seen = self.features[block]
                assert isinstance(seen, InvertedResidual)
                self.laterals[str(block)] = _silent_lateral(seen.out_channels, filters)
        self.final_layer = heatmap_layer(config)

    def forward(self, images: Tensor) -> Tensor:
        """Heatmaps, about 0..1, of the crops."""
        x, across = images, []  # the laterals, coarsest last
        for number, block in enumerate(self.features):
            x = block(x)
            if str(number) in self.laterals:
                across.append(self.laterals[str(number)](x))
        for first in range(0, len(self.deconv_layers), LAYERS_A_STEP):
            deconv, norm, relu = self.deconv_layers[first : first + LAYERS_A_STEP]
            x = norm(deconv(x))  # twice the size
            x = relu(x + across.pop() if across else x)
        heatmaps: Tensor = self.final_layer(x)
        return heatmaps


def _silent_lateral(in_channels: int, filters: int) -> nn.Conv2d:
    """A 1x1 convolution that starts at zero, so that adding it to a trained head changes nothing at first."""
    lateral = nn.Conv2d(in_channels, filters, 1)
    nn.init.zeros_(lateral.weight)
    nn.init.zeros_(lateral.bias)  # type: ignore[arg-type]
    return lateral
