"""FlowNet2-S: optical flow by an encoder and a refining decoder.

Source: Dosovitskiy et al., "FlowNet", ICCV 2015 (FlowNetSimple), and Ilg et al., "FlowNet 2.0", CVPR 2017, which also
defines the thin variant with 3/8 of the channels (section 5.2). Attribute names as in `FlowNet2S` of NVIDIA's
flownet2-pytorch, so its checkpoint loads strictly; 38.68 M parameters at full width.

Preprocessing of the published weights: `pair_input` (mean colour of the pair removed, divided by 255), both sides
multiples of 64. The output times `FLOW_SCALE` is the displacement in input pixels, at a quarter of the resolution, to
be upsampled bilinearly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from posewire_models.network import Network
from posewire_models.picture_net import MOST_SIDE

__all__ = ["FLOW_SCALE", "FLOW_STRIDE", "FlowNetS", "FlowNetSConfig", "pair_input"]

FLOW_SCALE = 20.0
"""Input pixels of displacement per unit of the network's output."""
FLOW_STRIDE = 4
"""Input pixels per cell of the finest output."""
_SIZE_MULTIPLE = 64


@dataclass(frozen=True, kw_only=True)
class FlowNetSConfig:
    """Settings of `FlowNetS`.

    Attributes:
        width: factor on all channel counts: 1.0, or 0.375 for the thin variant.
        input_size: (height, width) of the network's input, multiples of 64 up to `MOST_SIDE`.
        subtract_mean: whether the pair's mean colour is subtracted from its input: NVIDIA's weights need that, MMFlow's
            do not.

    Raises:
        ValueError: a value is out of its range; the message gives the range.
    """

    width: float = 1.0
    input_size: tuple[int, int] = (384, 512)
    subtract_mean: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.width <= 1 or 64 * self.width != int(64 * self.width):
            raise ValueError(f"width {self.width} must be a multiple of 1/64 in (0, 1]; published are 1.0 and 0.375")
        sides = range(_SIZE_MULTIPLE, MOST_SIDE + 1, _SIZE_MULTIPLE)
        if len(self.input_size) != 2 or any(side not in sides for side in self.input_size):
            raise ValueError(
                f"input_size {self.input_size} must be (height, width) in multiples of {_SIZE_MULTIPLE} up to "
                f"{MOST_SIDE}"
            )


class FlowNetS(Network):
    """Pairs `(b, 6, h, w)` to flow `(b, 2, h/4, w/4)`, in units of `FLOW_SCALE` pixels."""

    config: FlowNetSConfig
    input_name = "pairs"
    input_channels = 6
    output_names = ("flow",)

    def __init__(self, config: FlowNetSConfig) -> None:
        super().__init__()
        self.config = config
        c64, c128, c256, c512, c1024 = (int(channels * config.width) for channels in (64, 128, 256, 512, 1024))
        self.conv1 = _conv(6, c64, 7, stride=2)
        self.conv2 = _conv(c64, c128, 5, stride=2)
        self.conv3 = _conv(c128, c256, 5, stride=2)
        self.conv3_1 = _conv(c256, c256, 3)
        self.conv4 = _conv(c256, c512, 3, stride=2)
        self.conv4_1 = _conv(c512, c512, 3)
        self.conv5 = _conv(c512, c512, 3, stride=2)
        self.conv5_1 = _conv(c512, c512, 3)
        self.conv6 = _conv(c512, c1024, 3, stride=2)
        self.conv6_1 = _conv(c1024, c1024, 3)

        # Input of each level: the encoder's features, the upsampled coarser features and the upsampled coarser flow.
        level5, level4, level3, level2 = c512 + c512 + 2, c512 + c256 + 2, c256 + c128 + 2, c128 + c64 + 2
        self.deconv5 = _deconv(c1024, c512)
        self.deconv4 = _deconv(level5, c256)
        self.deconv3 = _deconv(level4, c128)
        self.deconv2 = _deconv(level3, c64)
        self.predict_flow6 = nn.Conv2d(c1024, 2, 3, padding=1)
        self.predict_flow5 = nn.Conv2d(level5, 2, 3, padding=1)
        self.predict_flow4 = nn.Conv2d(level4, 2, 3, padding=1)
        self.predict_flow3 = nn.Conv2d(level3, 2, 3, padding=1)
        self.predict_flow2 = nn.Conv2d(level2, 2, 3, padding=1)
        self.upsampled_flow6_to_5 = nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1, bias=False)
        self.upsampled_flow5_to_4 = nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1, bias=False)
        self.upsampled_flow4_to_3 = nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1, bias=False)
        self.upsampled_flow3_to_2 = nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1, bias=False)

        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, pairs: Tensor) -> tuple[Tensor, ...]:
        """Flow at each level, finest (h/4) first: all five (to h/64) in training, otherwise only the finest."""
        conv2 = self.conv2(self.conv1(pairs))  # h/4
        conv3 = self.conv3_1(self.conv3(conv2))  # h/8
        conv4 = self.conv4_1(self.conv4(conv3))  # h/16
        conv5 = self.conv5_1(self.conv5(conv4))  # h/32
        conv6 = self.conv6_1(self.conv6(conv5))  # h/64

        flow6 = self.predict_flow6(conv6)  # h/64
        concat5 = torch.cat((conv5, self.deconv5(conv6), self.upsampled_flow6_to_5(flow6)), dim=1)  # h/32
        flow5 = self.predict_flow5(concat5)
        concat4 = torch.cat((conv4, self.deconv4(concat5), self.upsampled_flow5_to_4(flow5)), dim=1)  # h/16
        flow4 = self.predict_flow4(concat4)
        concat3 = torch.cat((conv3, self.deconv3(concat4), self.upsampled_flow4_to_3(flow4)), dim=1)  # h/8
        flow3 = self.predict_flow3(concat3)
        concat2 = torch.cat((conv2, self.deconv2(concat3), self.upsampled_flow3_to_2(flow3)), dim=1)  # h/4
        flow2 = self.predict_flow2(concat2)
        return (flow2, flow3, flow4, flow5, flow6) if self.training else (flow2,)


def pair_input(previous: Tensor, current: Tensor, *, subtract_mean: bool = True) -> Tensor:
    """The network's input from two batches of RGB images `(b, 3, h, w)` in 0..255: `(b, 6, h, w)`.

    If `subtract_mean` is set, each colour's mean over both images of a pair is subtracted, so that the flow does not
    depend on brightness.
    """
    pair = torch.stack((previous, current), dim=2)  # (b, 3, 2, h, w)
    if subtract_mean:
        pair = pair - pair.mean(dim=(2, 3, 4), keepdim=True)
    pair = pair / 255.0
    return torch.cat((pair[:, :, 0], pair[:, :, 1]), dim=1)


def _conv(channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, kernel, stride, padding=kernel // 2), nn.LeakyReLU(0.1, inplace=True)
    )


def _deconv(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(channels, out_channels, 4, stride=2, padding=1), nn.LeakyReLU(0.1, inplace=True)
    )
