"""TOML files to typed settings, with error messages that say what is wrong and where."""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["ConfigError", "build", "read_toml", "with_flags", "with_overrides"]

T = TypeVar("T")

_MOST_WHOLE = 2**63 - 1  # TOML's largest integer


class ConfigError(ValueError):
    """A setting is missing, unknown or out of range; the message names it and what is allowed."""


def read_toml(file: Path, base: Path | None = None) -> dict[str, Any]:
    """The table in `file`. Its key `base` names another file in the same folder, with the settings not given here.

    Raises:
        ConfigError: the file is missing or is not TOML.
    """
    try:
        table = tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        which = f"config {file}" if base is None else f"config {base}: its base {file}"
        raise ConfigError(f"{which} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # also for other encodings, endless numbers and deep nesting
        raise ConfigError(f"config {file} is not TOML: {error}") from error
    if "base" in table:
        below = file.parent / str(table.pop("base"))
        if base is not None:
            raise ConfigError(f"config {file}: its base {below} is reached through another base; one level is enough")
        table = _merged(read_toml(below, base=file), table)
    return table


def with_overrides(table: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`table` with `section.key=value` applied; values are written as in TOML."""
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise ConfigError(f"override {override!r}: write it as key=value, for example loop.seed=2")
        try:
            parsed = tomllib.loads(f"{key} = {value}")
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"override {override!r:.200} is not TOML: {error}; texts need quotes") from error
        table = _merged(table, parsed)
    return dict(table)


def with_flags(table: Mapping[str, Any], flags: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`table` with the settings given by command-line flags.

    Raises:
        ConfigError: `table` has another type of value where `flags` has a table; the message names `where`.
    """
    merged = dict(table)
    for key, value in flags.items():
        if isinstance(value, Mapping):
            value = with_flags(_table(merged.get(key, {}), f"{where}.{key}"), value, f"{where}.{key}")
        merged[key] = value
    return merged


def build(kind: type[T], table: Mapping[str, Any], where: str = "config") -> T:
    """An instance of the dataclass `kind` from a table of TOML; nested dataclasses come from nested tables.

    Raises:
        ConfigError: unknown, missing or mistyped settings, or values that the dataclass rejects.
    """
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}  # type: ignore[arg-type]
    unknown = sorted(set(table) - set(fields))
    if unknown:
        raise ConfigError(f"{where}: unknown setting {unknown[0]!r}; it knows {', '.join(sorted(fields))}")
    missing = [
        name
        for name, field in fields.items()
        if name not in table and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{where}: the setting {missing[0]!r} is missing")
    values = {name: _value(hints[name], value, f"{where}.{name}") for name, value in table.items()}
    try:
        return kind(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type[Any], hint), _table(value, where), where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value == "":  # TOML has no null; this is how an override unsets a setting
            return None
        return _value(next(one for one in arguments if one is not types.NoneType), value, where)
    if origin is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ConfigError(f"{where}: a list is expected, not {value!r}")
        of = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(of) != len(value):
            raise ConfigError(f"{where}: {len(of)} values are expected, not {len(value)}")
        return tuple(
            _value(one, entry, f"{where}[{row}]") for row, (one, entry) in enumerate(zip(of, value, strict=True))
        )
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if origin is dict:
        return {key: _value(arguments[1], one, f"{where}.{key}") for key, one in _table(value, where).items()}
    if hint is Any:
        return value
    if hint in (int, float):
        return _number(hint, value, where)
    if isinstance(value, hint):
        return value
    raise ConfigError(f"{where}: {hint.__name__} is expected, not {value!r:.200}")


def _number(kind: type[int] | type[float], value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        raise ConfigError(f"{where}: {kind.__name__} is expected, not {value!r:.200}")
    if isinstance(value, int) and not -_MOST_WHOLE <= value <= _MOST_WHOLE:
        raise ConfigError(f"{where}: {str(value)[:20]}... is too large; numbers lie within {_MOST_WHOLE}")
    if not math.isfinite(value):
        raise ConfigError(f"{where}: a finite number is expected, not {value}")
    return kind(value)


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: a table is expected, not {value!r:.200}")
    return value


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
