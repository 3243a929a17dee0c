from __future__ import annotations

import torch
from torch import nn

from posewire_models.training.batch_norm import unfold_batch_norms


def test_unfolding_keeps_the_function_and_makes_training_mode_compute_it() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4))
    for module in network:
        if isinstance(module, nn.BatchNorm2d):  # folded: an identity with a bias
            nn.init.uniform_(module.bias, -1, 1)
    images = 3 * torch.randn(8, 3, 12, 12) + 1
    wanted = network.eval()(images)
    assert (network.train()(images) - wanted).abs().max() > 0.1  # noise, before
    for module in network:
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    unfold_batch_norms(network, [images[:4], images[4:]])
    torch.testing.assert_close(network.eval()(images), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(network.train()(images), wanted, rtol=1e-3, atol=1e-3)
