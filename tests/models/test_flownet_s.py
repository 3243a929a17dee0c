"""FlowNet2-S: published size and names, and the same numbers as a restatement on plain functions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from posewire_models.flownet_s import FlowNetS, FlowNetSConfig, pair_input
from posewire_models.network_cost import count_parameters


@pytest.mark.parametrize(
    ("width", "parameters"),
    [
        (1.0, 38.68e6),  # as published
        (0.375, 5.46e6),  # the thin variant
    ],
)
def test_size(width: float, parameters: float) -> None:
    with torch.device("meta"):
        network = FlowNetS(FlowNetSConfig(width=width))
    assert count_parameters(network) == pytest.approx(parameters, abs=0.005e6)


def test_attribute_names_are_the_published_ones() -> None:
    with torch.device("meta"):
        network = FlowNetS(FlowNetSConfig())
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert shapes["conv1.0.weight"] == (64, 6, 7, 7)
    assert shapes["conv6_1.0.bias"] == (1024,)
    assert shapes["deconv2.0.weight"] == (386, 64, 4, 4)
    assert shapes["predict_flow3.weight"] == (2, 386, 3, 3)
    assert shapes["predict_flow2.bias"] == (2,)
    assert shapes["upsampled_flow6_to_5.weight"] == (2, 2, 4, 4)
    assert "upsampled_flow6_to_5.bias" not in shapes
    assert len(shapes) == 2 * (10 + 4 + 5) + 4


def test_equals_plain_restatement() -> None:
    network = FlowNetS(FlowNetSConfig(width=0.125, input_size=(64, 128)))
    pairs = torch.randn(2, 6, 64, 128, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        fine_to_coarse = network.train()(pairs)
        (finest,) = network.eval()(pairs)
    expected = _restated(network.state_dict(), pairs)
    assert [tuple(flow.shape[2:]) for flow in fine_to_coarse] == [(16, 32), (8, 16), (4, 8), (2, 4), (1, 2)]
    for flow, other in zip(fine_to_coarse, expected, strict=True):
        torch.testing.assert_close(flow, other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(finest, expected[0], rtol=1e-4, atol=1e-5)


def test_input_does_not_see_brightness_and_keeps_the_difference_of_the_pair() -> None:
    previous, current = torch.rand(2, 2, 3, 8, 8).mul(100)
    brighter = pair_input(previous + 50, current + 50)
    torch.testing.assert_close(brighter, pair_input(previous, current), atol=1e-5, rtol=0)
    darker_current = pair_input(previous, current - 51)
    change = (darker_current[:, :3] - darker_current[:, 3:]) - (brighter[:, :3] - brighter[:, 3:])
    torch.testing.assert_close(change, torch.full_like(change, 0.2), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "settings", [{"input_size": (100, 128)}, {"input_size": (64, 64000)}, {"width": 0.3}, {"width": 2.0}]
)
def test_bad_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="multiple"):
        FlowNetSConfig(**settings)  # type: ignore[arg-type]


def _restated(state: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """The published forward pass, on functions, from coarse to fine in one loop."""

    def conv(name: str, x: Tensor, stride: int) -> Tensor:
        weight = state[f"{name}.0.weight"]
        x = functional.conv2d(x, weight, state[f"{name}.0.bias"], stride, padding=(weight.shape[2] - 1) // 2)
        return functional.leaky_relu(x, 0.1)

    features = {}
    for level in range(1, 7):
        x = conv(f"conv{level}", x, 2)
        if level >= 3:
            x = conv(f"conv{level}_1", x, 1)
        features[level] = x
    flows = []
    for level in range(6, 1, -1):
        if level < 6:
            up = functional.conv_transpose2d(x, state[f"deconv{level}.0.weight"], state[f"deconv{level}.0.bias"], 2, 1)
            weight = state[f"upsampled_flow{level + 1}_to_{level}.weight"]
            flow_up = functional.conv_transpose2d(flows[0], weight, None, 2, 1)
            x = torch.cat((features[level], functional.leaky_relu(up, 0.1), flow_up), 1)
        predict = f"predict_flow{level}"
        flows.insert(0, functional.conv2d(x, state[f"{predict}.weight"], state[f"{predict}.bias"], padding=1))
    return flows
