"""The deconvolution head of Simple Baselines, and the settings that all networks with it share.

Source: Xiao, Wu, Wei, "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018, section 2, and the authors'
`lib/models/pose_resnet.py`: each step doubles the resolution with a transposed convolution, batch norm and ReLU.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from posewire_models.network import Network
from posewire_models.picture_net import PICTURE_STRIDE, PictureNetConfig

__all__ = [
    "LAYERS_A_STEP",
    "MOST_CHANNELS",
    "DeconvNetConfig",
    "HeatmapNetwork",
    "PoseNetConfig",
    "deconv_head",
    "heatmap_layer",
]

MOST_CHANNELS = 2048
"""Of a layer in a head; the published networks have 256, and more than this is a typing error."""

LAYERS_A_STEP = 3
"""Transposed convolution, batch norm, ReLU."""

_MOST_JOINTS = 1024

# kernel -> (padding, output_padding) with which each step doubles the size exactly.
_PADDINGS = {2: (0, 0), 3: (1, 1), 4: (1, 0)}


@dataclass(frozen=True, kw_only=True)
class DeconvNetConfig(PictureNetConfig):
    """Settings of every network with a stride-32 trunk and a deconvolution head.

    Attributes:
        deconv_filters: channels after each transposed convolution, at most `MOST_CHANNELS`.
        deconv_kernels: their kernel sizes, each 2, 3 or 4.

    Raises:
        ValueError: a value is out of its range; the message gives the range.
    """

    deconv_filters: tuple[int, ...] = (256, 256, 256)
    deconv_kernels: tuple[int, ...] = (4, 4, 4)

    def __post_init__(self) -> None:
        super().__post_init__()
        steps = self.trunk_stride.bit_length() - 1
        if not 1 <= len(self.deconv_filters) <= steps or any(
            not 1 <= filters <= MOST_CHANNELS for filters in self.deconv_filters
        ):
            raise ValueError(
                f"deconv_filters {self.deconv_filters} must be 1 to {steps} channel counts of 1..{MOST_CHANNELS}"
            )
        if len(self.deconv_kernels) != len(self.deconv_filters):
            raise ValueError(
                f"{len(self.deconv_kernels)} deconv_kernels for {len(self.deconv_filters)} deconv_filters; "
                "give one kernel per transposed convolution"
            )
        if any(kernel not in _PADDINGS for kernel in self.deconv_kernels):
            raise ValueError(f"deconv_kernels {self.deconv_kernels}: each must be one of {sorted(_PADDINGS)}")

    @property
    def trunk_stride(self) -> int:
        """Input pixels per cell of the head's input."""
        return PICTURE_STRIDE

    @property
    def stride(self) -> int:
        """Input pixels per output cell: 4 with three transposed convolutions on a trunk of stride 32."""
        return self.trunk_stride >> len(self.deconv_filters)

    @property
    def output_size(self) -> tuple[int, int]:
        """(height, width) of the output maps."""
        return self.input_size[0] // self.stride, self.input_size[1] // self.stride


@dataclass(frozen=True, kw_only=True)
class PoseNetConfig(DeconvNetConfig):
    """Settings of any network that maps a person's crop to one heatmap per joint.

    Attributes:
        joints: number of heatmaps, at most 1024.
    """

    joints: int = 17

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.joints <= _MOST_JOINTS:
            raise ValueError(f"joints {self.joints} must be in 1..{_MOST_JOINTS}")


class HeatmapNetwork(Network):
    """`(b, 3, h, w)` normalised RGB crops to heatmaps `(b, config.joints, *config.output_size)`, about 0..1."""

    config: PoseNetConfig
    output_names = ("heatmaps",)


def deconv_head(in_channels: int, config: DeconvNetConfig) -> nn.Sequential:
    """The `deconv_layers` of the published checkpoints: [transposed convolution, batch norm, ReLU] per step.

    Maps `(b, in_channels, h, w)` to `(b, deconv_filters[-1], h * 2^n, w * 2^n)`. Initialised as in the published code.
    """
    layers: list[nn.Module] = []
    for filters, kernel in zip(config.deconv_filters, config.deconv_kernels, strict=True):
        padding, output_padding = _PADDINGS[kernel]
        deconv = nn.ConvTranspose2d(in_channels, filters, kernel, 2, padding, output_padding, bias=False)
        nn.init.normal_(deconv.weight, std=0.001)
        layers += [deconv, nn.BatchNorm2d(filters), nn.ReLU(inplace=True)]
        in_channels = filters
    return nn.Sequential(*layers)


def heatmap_layer(config: PoseNetConfig) -> nn.Conv2d:
    """The 1x1 convolution from the head to one heatmap per joint, initialised as in the published code."""
    layer = nn.Conv2d(config.deconv_filters[-1], config.joints, 1)
    nn.init.normal_(layer.weight, std=0.001)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # this convolution has a bias
    return layer
