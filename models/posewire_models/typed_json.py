"""Dataclasses from parsed JSON or TOML, strictly: unknown, missing and mistyped fields are errors."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import reprlib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

__all__ = ["TypedJsonError", "from_json"]

Settings = TypeVar("Settings")


class TypedJsonError(ValueError):
    """Values do not fit the dataclass; the message says where and what was expected."""


def from_json(kind: type[Settings], values: object, where: str) -> Settings:
    """Build the dataclass `kind` from a parsed object; lists become tuples, objects nested dataclasses.

    Args:
        kind: the dataclass.
        values: the parsed object.
        where: what to call it in errors.

    Raises:
        TypedJsonError: unknown or missing fields, wrong types, or values that the dataclass rejects.
    """
    if not isinstance(values, Mapping):
        raise TypedJsonError(f"{where}: expected an object with the fields of {kind.__name__}, got {_shown(values)}")
    fields = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(values.keys() - fields.keys())
    if unknown:
        raise TypedJsonError(f"{where}: unknown field {', '.join(unknown)}; known fields: {', '.join(fields)}")
    missing = [name for name, item in fields.items() if name not in values and _required(item)]
    if missing:
        raise TypedJsonError(f"{where}: missing field {', '.join(missing)}")
    hints = typing.get_type_hints(kind)
    arguments = {name: _typed(hints[name], value, f"{where}: {name}") for name, value in values.items()}
    try:
        return kind(**arguments)
    except ValueError as error:
        raise TypedJsonError(f"{where}: {error}") from None


def _required(item: dataclasses.Field[Any]) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def _typed(hint: Any, value: Any, where: str) -> Any:
    """The JSON `value` as the annotated type `hint`."""
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        (hint,) = (option for option in typing.get_args(hint) if option is not types.NoneType)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value, where)
    if origin is tuple and isinstance(value, list):
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            raise TypedJsonError(f"{where}: expected {len(arguments)} values, got {_shown(value)}")
        return tuple(_typed(arguments[0], item, where) for item in value)
    if origin in (Mapping, dict) or hint is Mapping:
        expected: type = Mapping
    else:
        expected = hint
    if expected is float and isinstance(value, int | float) and not isinstance(value, bool):
        return _finite(value, where)
    if origin is tuple or not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise TypedJsonError(f"{where}: expected {hint}, got {_shown(value)}")
    return value


def _finite(value: float, where: str) -> float:
    with contextlib.suppress(OverflowError):
        if math.isfinite(value):
            return float(value)
    raise TypedJsonError(f"{where}: expected a finite number, got {_shown(value)}")


def _shown(value: object) -> str:
    """For messages; deep or long values are truncated."""
    return reprlib.repr(value)
