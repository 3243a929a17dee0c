from __future__ import annotations

import pytest
import torch

from posewire_models.training.losses import masked_mse, multi_scale_epe


def test_absent_joints_get_no_gradient() -> None:
    heatmaps = torch.rand(2, 3, 8, 6, requires_grad=True)
    weights = torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.0, 1.0]])
    masked_mse(heatmaps, torch.zeros(2, 3, 8, 6), weights).backward()
    assert heatmaps.grad is not None
    touched = heatmaps.grad.abs().sum(dim=(2, 3)) > 0
    assert touched.tolist() == (weights > 0).tolist()


def test_masked_mse_is_the_mean_over_labelled_joints() -> None:
    heatmaps = torch.zeros(1, 2, 4, 4)
    heatmaps[0, 0], heatmaps[0, 1] = 2, 100
    loss = masked_mse(heatmaps, torch.zeros_like(heatmaps), torch.tensor([[1.0, 0.0]]))
    assert float(loss) == pytest.approx(4)


def test_masked_mse_of_nothing_is_nothing() -> None:
    loss = masked_mse(torch.rand(1, 2, 4, 4), torch.zeros(1, 2, 4, 4), torch.zeros(1, 2))
    assert float(loss) == 0


def test_multi_scale_epe_weighs_the_finest_level_most() -> None:
    target = torch.zeros(1, 2, 64, 64)
    flows = [torch.zeros(1, 2, side, side) for side in (16, 8)]
    assert float(multi_scale_epe(flows, target)) == 0
    flows[0][:, 0], flows[0][:, 1] = 3, 4
    assert float(multi_scale_epe(flows, target)) == pytest.approx(5 * 0.32)
    flows[1][:, 0] = 1
    assert float(multi_scale_epe(flows, target)) == pytest.approx(5 * 0.32 + 0.16)
