"""Files written by a run: under a temporary name first, so that there is never a partial file under the final name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posewire.os_errors import reason_of
from posewire_models.weights import WeightsError, load_strict, read_state, write_state
from posewire_models.whole_files import replacing

__all__ = ["load_checkpoint", "load_fitting", "save_checkpoint", "save_weights", "start_file"]

_ENTRIES = ("network", "averaged", "optimiser", "step", "elapsed_s", "examples", "settings", "figures")
"""What a run stores in a checkpoint."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Save everything that a run needs to resume: nested dicts, lists and tuples of tensors and plain values.

    Raises:
        OSError: it cannot be written.
    """
    with _writing(path) as unfinished, unfinished.open("wb") as file:
        torch.save(state, file)


@contextmanager
def _writing(path: Path) -> Iterator[Path]:
    """A file to write, which replaces `path` if nothing failed; its folder is made, and errors name `path`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            yield unfinished
    except (OSError, RuntimeError) as error:
        # If a write fails, torch raises an error about a position in the file.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise OSError(f"{path} cannot be written: {reason_of(cause)}") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a file of `save_checkpoint`; nothing in it is run.

    Raises:
        WeightsError: the file is missing, or is not a checkpoint of this project.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"there is no checkpoint {path}; run without --resume to start anew") from error
    except Exception as error:  # torch documents no common class of what its reader raises
        raise WeightsError(f"checkpoint {path} cannot be read: {reason_of(error)}") from error
    entries: dict[str, Any] = state if isinstance(state, dict) else {}
    missing = [name for name in _ENTRIES if name not in entries]
    if missing:
        raise WeightsError(
            f"checkpoint {path} was not written by this version of the training code: it has no entry {missing[0]!r}"
        )
    return entries


def save_weights(path: Path, state: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Save weights as safetensors, in half precision where its range suffices, with `about` as the file's metadata.

    Raises:
        OSError: it cannot be written.
    """
    with _writing(path) as unfinished:
        write_state({name: _halved(value).contiguous().cpu() for name, value in state.items()}, unfinished, about)


def _halved(value: Tensor) -> Tensor:
    """`value` in half precision, unless it exceeds 65504, its largest number: a batch norm's variance may."""
    half = value.half() if value.is_floating_point() else value
    return half if half.isfinite().all() else value


def start_file(named: Path, data_root: Path) -> Path:
    """Path of the weights that a config names: the path itself, or else under the data folder.

    Raises:
        WeightsError: there is no such file in either place.
    """
    places = (named, data_root / named)
    for place in places:
        if place.is_file():
            return place
    raise WeightsError(f"there is no weight file {' nor '.join(dict.fromkeys(map(str, places)))}")


def load_fitting(network: nn.Module, file: Path, *, prefix: str = "") -> set[str]:
    """Start `network` from weights of the same or of a related network.

    Tensors with the same name and shape are loaded, the rest of the network stays as it is (another number of joints,
    another head).

    Args:
        network: gets the weights in its own precision.
        file: safetensors or a PyTorch checkpoint.
        prefix: added to names in the file that lack it.

    Returns:
        The names that were loaded.

    Raises:
        WeightsError: the file is unreadable, or less than half of it fits: it is from another network.
    """
    state = read_state(file).items()
    loaded = {name if name.startswith(prefix) else prefix + name: value for name, value in state}
    own = network.state_dict()
    fitting = {name: value for name, value in loaded.items() if name in own and own[name].shape == value.shape}
    if 2 * len(fitting) < len(loaded):
        load_strict(network, loaded, str(file))  # raises and names what does not fit
    network.load_state_dict({**own, **fitting})
    return set(fitting)
