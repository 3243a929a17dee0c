"""Reading the pickled part of a foreign checkpoint without running any of it.

A pickle is a program: it may name any function of any module and call it. Here no name is ever imported. Names that a
checkpoint needs to describe its tensors are replaced by descriptions of our own; those in its training notes (numpy's
arrays, OpenMMLab's buffers) by `Ignored`, which does nothing; any other name is rejected, with that name in the error.

torch's own `weights_only` reader also rejects the notes, unless it is given the classes that they name.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO, Any, NamedTuple, NoReturn

import torch

from posewire_models.one_line import in_one_line
from posewire_models.published.errors import UnreadableError

__all__ = ["Ignored", "Pickled", "StorageKey", "TensorEntry", "read_pickle"]

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

# Names in the notes of published checkpoints: dates, training metrics, parts of the configuration.
# Older checkpoints name builtins by their module in Python 2.
_BUILTINS = ("bool", "complex", "dict", "float", "frozenset", "getattr", "int", "list", "long", "set", "str", "tuple")
_NOTES = {
    *(f"builtins {name}" for name in _BUILTINS),
    *(f"__builtin__ {name}" for name in _BUILTINS),
    *(f"numpy{core}.multiarray {name}" for core in (".core", "._core") for name in ("_reconstruct", "scalar")),
    *(f"numpy{core}.numeric _frombuffer" for core in (".core", "._core")),
    "_codecs encode",
    "argparse Namespace",
    "collections defaultdict",
    "collections deque",
    "numpy dtype",
    "numpy ndarray",
    "torch device",
}
_NOTES_OF = ("mmcv.", "mmengine.", "mmflow.", "mmpose.")

# Extension codes for names, and buffers outside the file.
_REFUSED = {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}

# Limits of a number and of a tuple: far more than a tensor or a key needs.
_MOST_BITS = 63
_MOST_PARTS = 64

_MOST_SHOWN = 80
"""Characters of a name or a value in a message."""


class _Unchangeable:
    """Objects that a pickle may create but not change by setting their state, which would bypass a frozen dataclass."""

    def __setstate__(self, state: object) -> NoReturn:
        raise UnreadableError(f"it wants to change a {type(self).__name__} that was checked")


@dataclass(frozen=True)
class StorageKey(_Unchangeable):
    """Where a tensor's numbers are: the storage's name in the file, their type, and their claimed count."""

    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True)
class TensorEntry(_Unchangeable):
    """A tensor as described by the pickle, not yet validated.

    Attributes:
        storage: its numbers.
        offset: where in the storage it begins.
        size: its shape.
        stride: steps in the storage, one per dimension.
    """

    storage: StorageKey
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class Pickled(NamedTuple):
    """Content of a pickle."""

    content: Any
    """Plain containers and numbers, `TensorEntry` for tensors, `Ignored` for everything irrelevant."""
    storages: dict[str, StorageKey]
    """All storages that it mentions, by their key."""


class Ignored:
    """Placeholder for an object in the notes. Accepts any arguments and any state, and keeps none."""

    def __new__(cls, *_: object, **__: object) -> Ignored:
        """Ignores all arguments."""
        return super().__new__(cls)

    def __call__(self, *_: object, **__: object) -> Ignored:
        """A call returns another placeholder."""
        return self

    def __setstate__(self, state: object) -> None:
        """No state."""

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ignored)

    def __setitem__(self, key: object, value: object) -> None:
        """No items."""

    def append(self, item: object) -> None:
        """No items."""

    def extend(self, items: object) -> None:
        """No items."""

    def add(self, item: object) -> None:
        """No items."""


class _Items(dict[Any, Any]):
    """An ordered dictionary whose attributes (a state's `_metadata`) are dropped."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        pass


def read_pickle(file: IO[bytes]) -> Pickled:
    """Read the pickle at the current position of `file`, which is moved behind it.

    Raises:
        UnreadableError: not a pickle, or one that names or does more than is allowed. Nothing that it names was called.
    """
    start = file.tell()
    _check_operations(file)
    end = file.tell()
    file.seek(start)
    unpickler = _Unpickler(io.BytesIO(file.read(end - start)), encoding="latin1")  # Python 2 wrote the old ones
    try:
        return Pickled(unpickler.load(), unpickler.storages)
    except UnreadableError:
        raise
    except Exception as error:  # noqa: BLE001 - a crafted pickle may fail in any way
        raise UnreadableError(f"its pickle is damaged ({type(error).__name__}: {error})") from None


def _check_operations(file: IO[bytes]) -> None:
    """Check the pickle's operations up to its end without running any."""
    try:
        for operation, _, _ in pickletools.genops(file):
            if operation.name in _REFUSED:
                raise UnreadableError(f"its pickle uses {operation.name}, which no checkpoint needs")
    except UnreadableError:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        raise UnreadableError(f"it holds no whole pickle ({type(error).__name__}: {error})") from None


def _check_keys(keys: Iterable[object]) -> None:
    """Reject keys that would take long to hash: nested tuples may take forever, or exhaust the stack."""
    for key in keys:
        parts = key if type(key) is tuple and len(key) <= _MOST_PARTS else (key,)
        if not all(_is_plain(part) for part in parts):
            raise UnreadableError(
                f"it has a large or nested key ({type(key).__name__}), where strings and numbers belong"
            )


def _is_plain(key: object) -> bool:
    if isinstance(key, int):
        return key.bit_length() <= _MOST_BITS
    return key is None or isinstance(key, str | bytes | float | Ignored)


def _checking(load: Callable[[Any], None], keys: slice) -> Callable[[Any], None]:
    """The operation `load`, preceded by a check of the stack entries that it uses as keys."""

    def checked(unpickler: Any) -> None:
        _check_keys(unpickler.stack[keys])
        load(unpickler)

    return checked


# Operations that hash -> positions on the stack, counted from its last mark, of what they hash.
_HASHING = {
    pickle.SETITEM: slice(-2, -1),
    pickle.SETITEMS: slice(0, None, 2),
    pickle.DICT: slice(0, None, 2),
    pickle.ADDITEMS: slice(None),
    pickle.FROZENSET: slice(None),
}


class _Unpickler(pickle._Unpickler):
    """Resolves every name to an object of ours, and every storage to a `StorageKey`.

    Based on the unpickler in Python, because the one in C hashes a key before it can be checked.
    """

    dispatch = pickle._Unpickler.dispatch | {
        code[0]: _checking(pickle._Unpickler.dispatch[code[0]], keys) for code, keys in _HASHING.items()
    }

    def __init__(self, file: IO[bytes], *, encoding: str) -> None:
        super().__init__(file, encoding=encoding)
        self.storages: dict[str, StorageKey] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.cuda") and name in _DTYPES:
            return _DTYPES[name]
        if (entry := _ENTRIES.get(f"{module} {name}")) is not None:
            return entry
        if f"{module} {name}" in _NOTES or module.startswith(_NOTES_OF):
            # A new class each time, so that changes made to it have no effect elsewhere.
            return type("Ignored", (Ignored,), {})
        wanted = in_one_line(f"{module}.{name}", _MOST_SHOWN)
        raise UnreadableError(f"it wants to use {wanted}, which tensors do not need; nothing was run")

    def persistent_load(self, pid: Any) -> StorageKey:
        match pid:
            # The optional last part is set if the storage is a view of another.
            case ("storage", torch.dtype() as dtype, str() as key, str(), int() as count, *view) if not any(view):
                storage = StorageKey(key, dtype, count)
                if count < 0 or self.storages.setdefault(key, storage) != storage:
                    raise UnreadableError(f"it describes storage {key!r} in two ways")
                return storage
        raise UnreadableError(f"it refers to {_shown(pid)}, which is no storage of numbers")


def _tensor(storage: object, offset: object, size: object, stride: object, *_: object) -> TensorEntry:
    """`torch._utils._rebuild_tensor` and `_rebuild_tensor_v2`."""
    numbers = (offset, *_shape(size), *_shape(stride))
    if not isinstance(storage, StorageKey) or not all(_is_whole(number) for number in numbers):
        raise UnreadableError("it describes a tensor by something else than a storage and whole numbers")
    return TensorEntry(storage, offset, _shape(size), _shape(stride))  # type: ignore[arg-type]


def _is_whole(number: object) -> bool:
    return type(number) is int and number >= 0 and number.bit_length() <= _MOST_BITS


def _parameter(data: object, *_: object) -> object:
    """`torch._utils._rebuild_parameter`."""
    return data


def _shape(numbers: object) -> tuple[Any, ...]:
    """`torch.Size`; also validates a tensor's shape."""
    if not isinstance(numbers, tuple) or len(numbers) > _MOST_PARTS:
        raise UnreadableError(f"it describes a tensor whose shape is {_shown(numbers)}")
    return numbers


def _items(pairs: object = None) -> _Items:
    """`collections.OrderedDict`: empty, or, as written by Python 2, from a list of pairs."""
    items = _Items()
    if pairs is not None:
        if type(pairs) is not list or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
            raise UnreadableError(f"it makes a dictionary of {_shown(pairs)}, not of pairs")
        _check_keys(key for key, _ in pairs)
        items.update(pairs)
        pairs.clear()  # a long list that is passed repeatedly would fill the memory
    return items


def _shown(value: object) -> str:
    """For messages; objects with parts are not shown, since they may be endless."""
    return repr(value[:_MOST_SHOWN]) if isinstance(value, str) else f"a {type(value).__name__}"


class _Entry:
    """A function of ours that a pickle may call but not change."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self._make = make

    def __call__(self, *arguments: object) -> object:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise UnreadableError("it wants to change a function")


_ENTRIES: dict[str, Any] = {
    "collections OrderedDict": _Entry(_items),
    "torch Size": _Entry(_shape),
    "torch._utils _rebuild_tensor": _Entry(_tensor),
    "torch._utils _rebuild_tensor_v2": _Entry(_tensor),
    "torch._utils _rebuild_parameter": _Entry(_parameter),
}
