"""PoseMobileNet: torchvision's trunk, the shared head."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import mobilenet_v2

from posewire_models.pose_mobilenet import PoseMobileNet, PoseMobileNetConfig
from posewire_models.pose_resnet import PoseResNet, PoseResNetConfig


@pytest.mark.parametrize("width", [0.35, 0.5, 1.0, 1.4])
def test_trunk_equals_torchvision(width: float) -> None:
    network = PoseMobileNet(PoseMobileNetConfig(width=width)).eval()
    reference = mobilenet_v2(weights=None, width_mult=width).eval()
    network.features.load_state_dict(reference.features.state_dict())
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(network.features(images), reference.features(images))


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


def test_laterals_start_silent_and_can_learn_to_speak() -> None:
    settings = {"width": 0.35, "input_size": (96, 64), "joints": 7, "deconv_filters": (16, 16, 16)}
    plain = PoseMobileNet(PoseMobileNetConfig(**settings)).eval()
    lateral = PoseMobileNet(PoseMobileNetConfig(**settings, laterals=True)).eval()
    missing = lateral.load_state_dict(plain.state_dict(), strict=False)
    assert missing.missing_keys == [f"laterals.{block}.{part}" for block in (13, 6, 3) for part in ("weight", "bias")]
    assert not missing.unexpected_keys
    crops = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(lateral(crops), plain(crops))
    torch.nn.init.normal_(lateral.laterals["3"].weight)
    with torch.inference_mode():
        assert not torch.allclose(lateral(crops), plain(crops))


def test_more_steps_than_the_trunk_has_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 4 transposed convolutions"):
        PoseMobileNetConfig(deconv_filters=(8,) * 5, deconv_kernels=(4,) * 5, laterals=True)
