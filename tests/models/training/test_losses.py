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


def test_masked_mse_counts_joints_without_a_label_as_right() -> None:
    heatmaps = torch.zeros(1, 2, 4, 4)
    heatmaps[0, 0], heatmaps[0, 1] = 2, 100
    loss = masked_mse(heatmaps, torch.zeros_like(heatmaps), torch.tensor([[1.0, 0.0]]))
    assert float(loss) == pytest.approx(4 / 2)


def test_processes_that_share_a_batch_have_its_loss_in_the_mean() -> None:
    """As DDP takes the mean of their gradients: however unevenly the labels are shared out."""
    heatmaps, targets = torch.rand(2, 4, 17, 8, 6, generator=torch.Generator().manual_seed(0))
    weights = (torch.arange(17) < torch.tensor([[17], [17], [2], [0]])).float()
    parts = [masked_mse(heatmaps[rows], targets[rows], weights[rows]) for rows in (slice(0, 2), slice(2, 4))]
    assert float(sum(parts)) / 2 == pytest.approx(float(masked_mse(heatmaps, targets, weights)))


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
