"""The training device, and the processes started by `torchrun`."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from posewire_models.inference import select_device

__all__ = ["PRECISIONS", "Processes", "autocast"]

PRECISIONS = ("auto", "bf16", "fp32")
"""Precisions of forward and backward passes; `auto` takes bf16 if the device supports it."""


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context of a forward pass on `device` in one of `PRECISIONS`.

    A CPU without instructions for bf16 takes twenty times as long with it as without; GPUs before Ampere emulate it.
    """
    if precision == "auto":
        fast = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else _cpu_has_bf16()
        precision = "bf16" if fast else "fp32"
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def _cpu_has_bf16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@dataclass(frozen=True)
class Processes:
    """This process among those of the run.

    Attributes:
        device: where this process computes.
        rank: its number.
        count: number of processes.
    """

    device: torch.device
    rank: int = 0
    count: int = 1

    @staticmethod
    def start(device: str = "auto", threads: int = 0) -> Processes:
        """One process, or one of several if `torchrun` started this one (its environment says so).

        Args:
            device: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N`.
            threads: CPU threads of the network; 0 leaves the number unchanged.

        Raises:
            ValueError: there is no such device.
        """
        count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda":
            device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        where = select_device(device)
        if threads:
            torch.set_num_threads(threads)
        if where.type == "cuda":
            torch.cuda.set_device(where)
            torch.backends.cudnn.benchmark = True
            # Only for convolutions: pixel coordinates are matrix products, of which TF32 keeps ten bits.
            torch.backends.cudnn.allow_tf32 = True
        if count > 1 and not torch.distributed.is_initialized():
            torch.distributed.init_process_group("nccl" if where.type == "cuda" else "gloo")
        return Processes(where, rank, count)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network with gradients averaged over all processes."""
        if self.count == 1:
            return network
        return DistributedDataParallel(network, [self.device] if self.device.type == "cuda" else None)

    def share_batch_norms(self, network: nn.Module) -> None:
        """On several GPUs, share batch norm statistics among all. Call it before parts of the network are frozen."""
        if self.count > 1 and self.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]

    def check_batch(self, batch: int) -> None:
        """Reject batches that cannot be shared equally: gradients are averaged as if all shares were equal.

        Raises:
            ValueError: `batch` is not a multiple of the number of processes.
        """
        if batch % self.count:
            raise ValueError(
                f"{self.count} processes cannot share a batch of {batch} examples evenly: set schedule.batch_size to a "
                f"multiple of {self.count}, of no more examples than there are, or start another number of processes"
            )

    def share(self, rows: Tensor) -> Tensor:
        """This process's rows of a batch."""
        return rows[self.rank :: self.count]

    def agree(self, value: float) -> float:
        """The first process's value, in all of them."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(shared, 0)
        return float(shared)

    def stop(self) -> None:
        """Leave the process group. Only after success: after a failure, others may still wait for something."""
        if self.count > 1:
            torch.distributed.destroy_process_group()
