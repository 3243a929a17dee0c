"""The tensors of foreign files: PyTorch checkpoints old and new, and safetensors.

Everything that a file claims is checked against its content first: a tensor must lie inside its storage and have no
more elements than that, a storage must have as many bytes as claimed, and all storages no more than the file.

Formats: PyTorch's zip archive (since 1.6), its older stream of pickles with the storages behind them, and safetensors.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from posewire.os_errors import reason_of
from posewire_models.one_line import in_one_line
from posewire_models.published.errors import UnreadableError
from posewire_models.published.pickles import StorageKey, TensorEntry, read_pickle

__all__ = ["read_tensors"]

_STATE_KEYS = ("state_dict", "model_state_dict", "model")
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_MOST_DIMENSIONS = 8

Storages = Callable[[StorageKey], bytearray]


def read_tensors(path: Path, source: str = "") -> dict[str, Tensor]:
    """The state in a file of weights, with the names in the file.

    Args:
        path: a PyTorch checkpoint, whose state may be under `state_dict`, or safetensors.
        source: what to call it in errors, if not by its path.

    Raises:
        UnreadableError: the file is missing, damaged, has none of these formats, or needs more than tensors.
    """
    source = source or str(path)
    try:
        with path.open("rb") as file:
            beginning, size = file.read(9), file.seek(0, io.SEEK_END)
            file.seek(0)
            # First, because safetensors begins with the length of its header, whose bytes may look like anything.
            if beginning[8:] == b"{" and int.from_bytes(beginning[:8], "little") < size:
                return dict(load_file(path))
            if beginning.startswith(b"PK\x03\x04"):
                return _read_zip(file)
            if beginning.startswith(b"\x80"):
                return _read_legacy(file)
        raise UnreadableError("it is neither a PyTorch checkpoint nor safetensors" + _as_seen(beginning))
    except OSError as error:
        raise UnreadableError(f"{source} cannot be read: {reason_of(error)}") from None
    except UnreadableError as error:
        raise UnreadableError(f"{source} cannot be read as weights: {in_one_line(error)}") from None
    except Exception as error:  # noqa: BLE001 - a damaged file may fail anywhere in the readers
        raise UnreadableError(f"{source} is damaged: {in_one_line(error) or type(error).__name__}") from None


def _as_seen(beginning: bytes) -> str:
    if not beginning:
        return ": it is empty"
    if beginning.lstrip().startswith((b"<", b"{")):
        return ": it looks like a web page, perhaps of the site that it was to come from"
    return ""


def _read_zip(file: IO[bytes]) -> dict[str, Tensor]:
    """`torch.save` since 1.6: `NAME/data.pkl`, and `NAME/data/KEY` for each storage, uncompressed."""
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise UnreadableError("it is a compressed archive, which PyTorch does not write")
        if sum(entry.file_size for entry in entries.values()) > file.seek(0, io.SEEK_END):
            raise UnreadableError("its parts are larger than itself")
        pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise UnreadableError("it is an archive, but not one that torch.save wrote")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in entries and archive.read(f"{folder}byteorder") != b"little":
            raise UnreadableError("it was written on a machine of the other byte order")

        def storage(key: StorageKey) -> bytearray:
            entry = entries.get(f"{folder}data/{key.key}")
            if entry is None or entry.file_size != key.count * key.dtype.itemsize:
                raise UnreadableError(f"storage {key.key!r} is missing or does not hold its {key.count} numbers")
            content = bytearray(entry.file_size)
            with archive.open(entry) as part:
                _fill(part, content)
                part.read(1)  # reading to the end checks the checksum
            return content

        with archive.open(pickles[0]) as part:
            content = io.BytesIO(part.read())
        return _state(read_pickle(content).content, storage)


def _read_legacy(file: IO[bytes]) -> dict[str, Tensor]:
    """`torch.save` before 1.6: five pickles, then for each storage its count and its numbers."""
    magic, protocol = read_pickle(file).content, None
    if magic == _LEGACY_MAGIC:
        protocol = read_pickle(file).content
    if protocol != _LEGACY_PROTOCOL:
        raise UnreadableError("it is a pickle, but no checkpoint that torch.save wrote")
    system = read_pickle(file).content
    if not isinstance(system, dict) or not system.get("little_endian", False):
        raise UnreadableError("it was written on a machine of the other byte order")
    content, storages = read_pickle(file)
    keys = read_pickle(file).content
    places = _legacy_places(file, keys, storages)

    def storage(key: StorageKey) -> bytearray:
        # The count was checked against the file, and decides how much memory is allocated.
        if key.key not in places or storages[key.key] != key:
            raise UnreadableError(f"storage {key.key!r} is missing")
        file.seek(places[key.key])
        numbers = bytearray(key.count * key.dtype.itemsize)
        _fill(file, numbers)
        return numbers

    return _state(content, storage)


def _legacy_places(file: IO[bytes], keys: object, storages: dict[str, StorageKey]) -> dict[str, int]:
    """Where the numbers of each storage begin: one after the other, from the current position of `file`."""
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in storages for key in keys):
        raise UnreadableError("it has no list of its storages")
    place, end = file.tell(), file.seek(0, io.SEEK_END)
    places = {}
    for key in keys:
        file.seek(place)
        (count,) = struct.unpack("<q", file.read(8))
        places[key] = place + 8
        place += 8 + count * storages[key].dtype.itemsize
        if count != storages[key].count or place > end:
            raise UnreadableError(f"storage {key!r} does not hold its {storages[key].count} numbers: cut short?")
    return places


def _find_state(content: object) -> dict[Any, Any]:
    """The dictionary that holds the weights."""
    for key in _STATE_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content:
        raise UnreadableError("it holds no state: no dictionary of tensors")
    strange = [
        str(key)[:80] for key, value in content.items() if not isinstance(key, str) or type(value) is not TensorEntry
    ]
    if strange:
        raise UnreadableError(f"its state holds more than tensors: {', '.join(strange[:3])}")
    return content


def _state(content: object, storage: Storages) -> dict[str, Tensor]:
    read: dict[StorageKey, bytearray] = {}
    state = {}
    for name, entry in _find_state(content).items():
        _check_entry(name, entry)
        if entry.storage not in read:
            read[entry.storage] = storage(entry.storage)
        state[name] = _tensor(entry, read[entry.storage])
    return state


def _check_entry(name: str, entry: TensorEntry) -> None:
    """Check that the tensor lies inside its storage and does not repeat elements."""
    if len(entry.size) != len(entry.stride) or len(entry.size) > _MOST_DIMENSIONS:
        raise UnreadableError(f"tensor {name!r} has {len(entry.size)} dimensions and {len(entry.stride)} strides")
    elements = math.prod(entry.size)
    last = entry.offset + sum((side - 1) * step for side, step in zip(entry.size, entry.stride, strict=True))
    if elements > entry.storage.count or (elements and last >= entry.storage.count):
        raise UnreadableError(f"tensor {name!r} of shape {entry.size} does not fit into its storage")


def _tensor(entry: TensorEntry, numbers: bytearray) -> Tensor:
    if not math.prod(entry.size):
        return torch.empty(entry.size, dtype=entry.storage.dtype)
    return torch.frombuffer(numbers, dtype=entry.storage.dtype).as_strided(entry.size, entry.stride, entry.offset)


def _fill(file: IO[bytes], content: bytearray) -> None:
    view = memoryview(content)
    while view:
        count = file.readinto(view)  # type: ignore[attr-defined]  # all files read here have it
        if not count:
            raise EOFError("it ends early")
        view = view[count:]
