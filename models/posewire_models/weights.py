"""Weight files: read without running pickled code, checked by digest, loaded strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from posewire_models.one_line import in_one_line
from posewire_models.published.errors import UnreadableError
from posewire_models.published.reader import read_tensors
from posewire_models.whole_files import file_digest

__all__ = ["WeightsError", "check_digest", "check_state", "load_strict", "not_finite", "read_state", "write_state"]

_WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_MOST_SHOWN = 5  # keys in a message


class WeightsError(ValueError):
    """A weight file is missing, damaged, or made for another network; the message says which and what to do."""


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a PyTorch checkpoint (also one with its state under `state_dict`).

    Raises:
        WeightsError: the file is missing, or holds anything but tensors and plain containers.
    """
    if not path.is_file():
        raise WeightsError(f"no weight file at {path}")
    try:
        return read_tensors(path)
    except UnreadableError as error:
        raise WeightsError(str(error)) from None


def write_state(state: Mapping[str, Tensor], path: Path, notes: Mapping[str, str]) -> None:
    """Write a safetensors file with `notes` as its metadata: a JSON object in one entry, since entries have no order.

    Equal arguments give equal files, and the user's umask decides who may read them.

    Raises:
        OSError: for example the disk is full.
    """
    # Not `save_file`, which makes files that only their owner can read, by way of a temporary file of its own.
    path.write_bytes(save(dict(state), {"notes": json.dumps(dict(notes), sort_keys=True)} if notes else None))


def check_digest(path: Path, sha256: str) -> None:
    """Check a file against its SHA-256 digest (hexadecimal); raises `WeightsError` if it is missing or differs."""
    if not path.is_file():
        raise WeightsError(f"no weight file at {path}")
    found = file_digest(path)
    if found != sha256.lower():
        raise WeightsError(
            f"{path} is damaged or another file: SHA-256 {found[:16]}..., expected {sha256[:16]}...; delete it and "
            "fetch it again, or if it is a newer one of your own, write its digest (sha256sum) into the manifest"
        )


def load_strict(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load `state` into `network`; all keys and shapes must be equal.

    Only the `num_batches_tracked` of batch norms, unused in inference and unknown to old files, may be missing.

    Args:
        network: changed in place.
        state: tensors of any float type, converted to the network's.
        source: what to call the file in errors.

    Raises:
        WeightsError: keys, shapes or types differ, or a tensor has values that are not finite; the message names them.
    """
    check_state(network, state, source)
    if key := not_finite(state):
        raise WeightsError(f"{source} holds numbers that are not finite, in {key}")
    network.load_state_dict(network.state_dict() | dict(state))


def check_state(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Compare the keys, shapes and types of `state` with those of `network`, as strictly as `load_strict` does."""
    expected = network.state_dict()
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in expected]
    differing = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in state and state[key].shape != tensor.shape
    ]
    # Quantised weights, whose scales are lost, or parts of complex numbers would load, and find nobody.
    no_weights = [
        f"{key} {state[key].dtype} instead of float16, bfloat16, float32 or float64".replace("torch.", "")
        for key, tensor in expected.items()
        if key in state and state[key].dtype not in (*_WEIGHT_TYPES, tensor.dtype)
    ]
    faults = (
        ("missing", missing),
        ("unexpected", unexpected),
        ("of another shape", differing),
        ("of another type", no_weights),
    )
    if any(keys for _, keys in faults):
        told = "; ".join(f"{len(keys)} {what}: {_some(keys)}" for what, keys in faults if keys)
        raise WeightsError(f"{source} does not fit {type(network).__name__}: {told}")


def not_finite(state: Mapping[str, Tensor]) -> str:
    """The name of a tensor that contains a NaN or an infinity, as float32; empty if none does.

    A network with such a tensor mostly finds nobody, without any error.
    """
    for key, value in state.items():
        # Minimum and maximum show every NaN and infinity, and are 20 times as fast as checking each number.
        if value.is_floating_point() and value.numel() and not all(end.float().isfinite() for end in value.aminmax()):
            return key
    return ""


def _some(keys: list[str]) -> str:
    return ", ".join(in_one_line(key) for key in keys[:_MOST_SHOWN]) + (", ..." if len(keys) > _MOST_SHOWN else "")
