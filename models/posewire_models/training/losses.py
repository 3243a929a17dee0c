"""Losses of the pose and flow networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["masked_mse", "multi_scale_epe"]


def masked_mse(heatmaps: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Mean squared error over the labelled joints (paper, section 2: "visible joints only").

    Args:
        heatmaps: `(b, k, h, w)` predicted.
        targets: the same shape.
        weights: `(b, k)`, 0 for joints without a label: they get no gradient, so data sets with different joints can be
            mixed.

    Returns:
        a scalar: the mean over cells, joints and people, twice that of the published `JointsMSELoss`. Joints without a
        label count with loss 0, so each label has the same weight in any batch and with any number of processes.
    """
    per_joint = (heatmaps.float() - targets).square().mean(dim=(2, 3))  # (b, k)
    return (per_joint * weights).mean()


def multi_scale_epe(flows: Sequence[Tensor], target: Tensor) -> Tensor:
    """End-point error over all levels of FlowNet-S (`losses.py` of NVIDIA's flownet2-pytorch, `MultiScale` with L2).

    Args:
        flows: predictions `(b, 2, h/4, w/4)`, `(b, 2, h/8, w/8)` ..., finest first, in the network's units.
        target: `(b, 2, h, w)` true flow in the same units; averaged down to each level's size.

    Returns:
        a scalar: the mean length of the error, weighted by .32 on the finest level and half as much on each further
        one.
    """
    loss = target.new_zeros(())
    for level, flow in enumerate(flows):
        wanted = functional.adaptive_avg_pool2d(target, (flow.shape[2], flow.shape[3]))
        loss = loss + 0.32 / 2**level * torch.linalg.vector_norm(flow.float() - wanted, dim=1).mean()
    return loss
