"""Frozen parts run by OpenVINO: the same results and gradients, and only where nothing is to be learned."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from posewire_models.training.frozen_parts import speed_up_frozen
from posewire_models.training.learning_parts import freeze
from tests.models.small_networks import small_network

pytest.importorskip("openvino", reason="needs the extra `openvino`")
IMAGES = torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def frozen(network: nn.Module, *names: str) -> nn.Module:
    """The network with the rest left to learn. In training, a batch's statistics would blow up what is rounded."""
    freeze(network.eval(), names)
    return network


def first_output(network: nn.Module) -> torch.Tensor:
    outputs = network(IMAGES)
    first: torch.Tensor = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
    return first


def double(network: nn.Module, name: str) -> None:
    """Double what the part adds in the end, which its copy in OpenVINO does not hear of."""
    with torch.no_grad():
        for parameter in list(network.get_submodule(name).parameters())[-2:]:
            parameter.mul_(2)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("pose_mobilenet", tuple(f"features.{block}" for block in range(7))),  # one after another, two are looked at
        ("center_yolox", ("trunk.backbone",)),  # gives three maps
        ("pose_resnet", ("conv1", "bn1", "layer1")),
    ],
)
def test_results_and_gradients_stay(kind: str, names: tuple[str, ...]) -> None:
    plain = frozen(small_network(kind), *names)
    fast = copy.deepcopy(plain)
    speed_up_frozen(fast, names)
    assert list(fast.state_dict()) == list(plain.state_dict())
    before = [first_output(network) for network in (plain, fast)]
    torch.testing.assert_close(*before, rtol=1e-3, atol=1e-4)
    for output in before:
        output.square().mean().backward()
    learned = [name for name, parameter in plain.named_parameters() if parameter.grad is not None]
    assert learned
    assert not any(name.startswith(tuple(f"{start}." for start in names)) for name in learned)
    for name in learned:
        gradients = [network.get_parameter(name).grad for network in (plain, fast)]
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)

    for network in (plain, fast):
        double(network, names[-1])
    assert not torch.equal(first_output(plain), before[0])
    assert torch.equal(first_output(fast), before[1])  # so it was OpenVINO


def test_what_learns_is_run_by_torch() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 3))
    plain = copy.deepcopy(frozen(network, "1"))
    speed_up_frozen(network, ("1",))  # there are weights before it, which want its gradient
    for each in (network, plain):
        each(IMAGES).square().mean().backward()
    torch.testing.assert_close(network[0].weight.grad, plain[0].weight.grad)
    with torch.no_grad():
        torch.testing.assert_close(network(IMAGES), plain(IMAGES), rtol=1e-3, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network(IMAGES), plain(IMAGES))


def test_a_part_that_is_called_out_of_turn_is_run_by_torch() -> None:
    network = frozen(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)), "0", "1")
    plain = copy.deepcopy(network)
    speed_up_frozen(network, ("0", "1"))
    with torch.no_grad():
        torch.testing.assert_close(network(IMAGES), plain(IMAGES), rtol=1e-3, atol=1e-4)
        assert torch.equal(network[1](IMAGES), plain[1](IMAGES))
