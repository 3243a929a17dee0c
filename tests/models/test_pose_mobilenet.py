"""PoseMobileNet: names of torchvision's trunk, the shared head."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import mobilenet_v2

from posewire_models.pose_mobilenet import PoseMobileNet, PoseMobileNetConfig
from posewire_models.pose_resnet import PoseResNet, PoseResNetConfig


def test_features_are_named_as_in_torchvision() -> None:
    network = PoseMobileNet(PoseMobileNetConfig())
    reference = mobilenet_v2(weights=None)
    assert network.features.state_dict().keys() == reference.features.state_dict().keys()


def test_head_is_the_one_of_pose_resnet() -> None:
    filters = (32, 16, 8)
    mobile = PoseMobileNet(PoseMobileNetConfig(deconv_filters=filters, joints=7))
    resnet = PoseResNet(PoseResNetConfig(depth=18, deconv_filters=filters, joints=7))
    shapes = [
        {key: value.shape for key, value in network.state_dict().items() if key.startswith(("deconv", "final"))}
        for network in (mobile, resnet)
    ]
    first = "deconv_layers.0.weight"
    assert shapes[0].pop(first)[1:] == shapes[1].pop(first)[1:]  # they differ in the trunk's channels only
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("width", [0.5, 1.0, 1.4])
def test_output_is_a_quarter_of_the_input(width: float) -> None:
    config = PoseMobileNetConfig(width=width, input_size=(96, 64), joints=19)
    assert PoseMobileNet(config).eval()(torch.zeros(1, 3, 96, 64)).shape == (1, 19, 24, 16)
