"""Starting from a trunk whose batch norms were folded."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["folded_batch_norm", "unfold_batch_norms"]


def folded_batch_norm(norm: nn.BatchNorm2d, bias: Tensor) -> dict[str, Tensor]:
    """The state of a batch norm like `norm` after folding it into the convolution before it: it only adds `bias`."""
    return {
        "weight": torch.full_like(bias, (1 + norm.eps) ** 0.5),
        "bias": bias,
        "running_mean": torch.zeros_like(bias),
        "running_var": torch.ones_like(bias),
    }


@torch.no_grad()
def unfold_batch_norms(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Give folded batch norms (an identity with a bias) the statistics of real inputs, keeping the network's function.

    A folded batch norm has mean 0 and variance 1. In training mode, which uses the statistics of the batch, it is a
    different function, and a pretrained trunk would start as noise. Afterwards both modes compute the folded function.

    Args:
        network: changed in place.
        batches: its inputs, a few hundred pictures in total.
    """
    sums: dict[nn.BatchNorm2d, list[Tensor]] = {}

    def collect(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double()
        assert isinstance(norm, nn.BatchNorm2d)
        mean, square = x.mean(dim=(0, 2, 3)), x.square().mean(dim=(0, 2, 3))
        total = sums.setdefault(norm, [torch.zeros_like(mean), torch.zeros_like(mean), torch.zeros((), dtype=x.dtype)])
        for kept, new in zip(total, (mean, square, torch.ones_like(total[2])), strict=True):
            kept += new

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(collect) for norm in norms]
    was_training = network.training
    network.eval()
    for batch in batches:
        network(batch)
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    for norm, (mean_sum, square_sum, count) in sums.items():
        mean = mean_sum / count
        variance = (square_sum / count - mean.square()).clamp(min=1e-8)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        norm.bias.add_(gain * (mean - norm.running_mean))
        norm.weight.copy_(gain * (variance + norm.eps).sqrt())
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
