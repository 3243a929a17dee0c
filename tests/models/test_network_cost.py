"""The cost of a network, beside the published figures in the tests of each network."""

from __future__ import annotations

import torch
from torch import nn

from posewire_models.network_cost import network_cost, network_cost_at


def test_the_cost_of_a_network_that_can_be_counted_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False),  # (3, 8, 6) -> (4, 4, 3): 12 places, 108 weights
        nn.ReLU(),
        nn.ConvTranspose2d(4, 2, 2, stride=2, bias=False),  # -> (2, 8, 6): 12 places of the input, 32 weights
        nn.Flatten(),
        nn.Linear(96, 5, bias=False),
    )
    cost = network_cost(network, (3, 8, 6))
    assert cost.multiply_adds == 12 * 108 + 12 * 32 + 96 * 5
    assert cost.parameters == 108 + 32 + 480
    assert cost.activations == (144 + 48) + (48 + 96) + (96 + 5)
    assert cost.bytes_moved(batch=2, item_bytes=4) == 4 * (cost.parameters + 2 * cost.activations)
    assert next(network.parameters()).device.type == "cpu"  # it stays as it is
    assert network_cost_at(network, torch.zeros(1, 3, 8, 6)) == cost
