"""Weight files: read without running pickled code, checked by digest, loaded strictly."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

__all__ = ["WeightsError", "check_digest", "load_strict", "read_state"]


class WeightsError(ValueError):
    """A weight file is missing, damaged, or made for another network; the message says which and what to do."""


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a PyTorch checkpoint (also one with its state under `state_dict`).

    Raises:
        WeightsError: no such file, or it holds anything but tensors and plain containers.
    """
    if not path.is_file():
        raise WeightsError(f"no weight file at {path}")
    if path.suffix == ".safetensors":
        try:
            return dict(load_file(path))
        except SafetensorError as error:
            raise WeightsError(f"{path} is not a readable safetensors file: {error}") from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - a damaged file may fail anywhere in the reader
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path} is not a checkpoint that can be read without running its code: {reason}") from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no state dictionary of tensors")
    return state


def check_digest(path: Path, sha256: str) -> None:
    """Compare a file with its SHA-256 digest (hexadecimal); raises `WeightsError` if it is missing or another one."""
    if not path.is_file():
        raise WeightsError(f"no weight file at {path}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        raise WeightsError(
            f"{path} is damaged or another file: SHA-256 {found[:16]}..., expected {sha256[:16]}...; fetch it again"
        )


def load_strict(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load `state` into `network`, every key and every shape equal.

    Only batch norms' `num_batches_tracked`, unused in inference and unknown to old files, may be missing.

    Args:
        network: changed in place.
        state: tensors of any float type, converted to the network's.
        source: what to call the file in errors.

    Raises:
        WeightsError: naming the keys and shapes that differ.
    """
    expected = network.state_dict()
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in expected]
    differing = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in state and state[key].shape != tensor.shape
    ]
    faults = (("missing", missing), ("unexpected", unexpected), ("of another shape", differing))
    if any(keys for _, keys in faults):
        told = "; ".join(f"{len(keys)} {what}: {_some(keys)}" for what, keys in faults if keys)
        raise WeightsError(f"{source} does not fit {type(network).__name__}: {told}")
    network.load_state_dict(expected | dict(state))


def _some(keys: list[str], most: int = 5) -> str:
    return ", ".join(keys[:most]) + (", ..." if len(keys) > most else "")
