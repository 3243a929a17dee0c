"""Reading the settings: defaults, then a TOML file, then the environment, then flags; later sources win.

A setting has one name everywhere: `limits.max_streams` in TOML is `max_streams` in the table `[limits]`, in the
environment `POSEWIRE_SERVER_LIMITS_MAX_STREAMS`. Unknown names are errors that suggest the nearest known one.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from posewire.small_files import read_small_text
from posewire_server.config import ServerConfig

__all__ = ["ENVIRONMENT_PREFIX", "ConfigError", "load_config", "setting_names"]

ENVIRONMENT_PREFIX = "POSEWIRE_SERVER_"

Settings = TypeVar("Settings")


class ConfigError(ValueError):
    """A setting is unknown, of the wrong type or out of range; the message says where it came from."""


@dataclasses.dataclass(frozen=True)
class _Given:
    """A value and where it was given."""

    value: Any
    origin: str


def load_config(
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> ServerConfig:
    """Merge all sources into one configuration.

    Args:
        file: TOML file; none by default.
        environment: variables; only those that start with `ENVIRONMENT_PREFIX` count.
        flags: setting name (`limits.max_streams`) to value; None means that the flag was not given.

    Raises:
        ConfigError: the file cannot be read, or a setting is unknown, of the wrong type or out of range.
    """
    given: dict[str, _Given] = {}
    if file is not None:
        given |= _from_file(file)
    given |= _from_environment(environment or {})
    for name, value in (flags or {}).items():
        if value is not None:
            given[_known(name, f"flag {name!r}")] = _Given(value, f"flag --{name.rpartition('.')[2].replace('_', '-')}")
    _keep_people_within_limit(given)
    return _build(ServerConfig, given, prefix="")


def setting_names() -> tuple[str, ...]:
    """Full names of all settings, e.g. `port`, `limits.max_streams`."""
    return tuple(name for name, _ in _fields(ServerConfig))


def _keep_people_within_limit(given: dict[str, _Given]) -> None:
    """A `limits.max_people` below the default of `tracker.max_people` lowers that default."""
    limit = given.get("limits.max_people")
    if limit is not None and "tracker.max_people" not in given:
        most = _convert("limits.max_people", limit, int)
        given["tracker.max_people"] = _Given(min(most, ServerConfig().tracker.max_people), limit.origin)


def _fields(settings: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full name and type of every setting, with tables flattened."""
    for name, kind in typing.get_type_hints(settings).items():
        if dataclasses.is_dataclass(kind):
            yield from _fields(typing.cast(type, kind), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", kind


def _from_file(file: Path) -> dict[str, _Given]:
    try:
        table = tomllib.loads(read_small_text(file))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # also for numbers that are too long and nesting that is too deep
        raise ConfigError(f"the configuration {file} is not valid TOML: {error}") from error
    return {_known(name, str(file)): _Given(value, str(file)) for name, value in _unfold(table)}


def _unfold(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _unfold(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _from_environment(environment: Mapping[str, str]) -> dict[str, _Given]:
    names = {ENVIRONMENT_PREFIX + name.replace(".", "_").upper(): name for name in setting_names()}
    given = {}
    for variable, value in environment.items():
        if variable.startswith(ENVIRONMENT_PREFIX):
            if variable not in names:
                raise ConfigError(f"unknown environment variable {variable}{_nearest(variable, names)}")
            given[names[variable]] = _Given(value, f"environment variable {variable}")
    return given


def _known(name: str, origin: str) -> str:
    names = setting_names()
    if any(known.startswith(f"{name}.") for known in names):
        raise ConfigError(f"{origin}: {name!r} is a table of settings: write [{name}], and its settings below")
    if name not in names:
        raise ConfigError(f"{origin}: unknown setting {name!r}{_nearest(name, names)}")
    return name


def _nearest(name: str, known: typing.Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else "; see the documentation for all settings"


def _build(settings: type[Settings], given: Mapping[str, _Given], prefix: str) -> Settings:
    """Construct a settings class from the values given under `prefix`; all others keep their defaults."""
    values: dict[str, Any] = {}
    for name, kind in typing.get_type_hints(settings).items():
        full = prefix + name
        if dataclasses.is_dataclass(kind):
            if any(key.startswith(f"{full}.") for key in given):
                values[name] = _build(typing.cast(type, kind), given, f"{full}.")
        elif full in given:
            values[name] = _convert(full, given[full], kind)
    try:
        return settings(**values)
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        # The message names the settings at fault, possibly without the name of their table.
        message = str(error)
        if any(message.startswith(f"{name} ") for name in values):
            message = prefix + message
        named = {name for name in given if re.search(rf"(?<![\w.]){re.escape(name)}\b", message)}
        origins = [each.origin for name, each in given.items() if name in named]
        raise ConfigError(f"{message} ({', '.join(dict.fromkeys(origins)) or 'from the defaults'})") from error


def _convert(name: str, given: _Given, kind: Any) -> Any:
    """Convert a TOML value, an environment string or a flag's value to the type of the setting."""
    if isinstance(kind, types.UnionType):  # X | None
        kind = next(member for member in kind.__args__ if member is not type(None))
    value = given.value
    wanted, convert = _KINDS.get(kind, ("", None))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        wanted, convert = f"one of {', '.join(kind)}", kind
    if convert is None:
        raise TypeError(f"setting {name} has the type {kind}, which no source can give")
    # Python accepts True as a number; in a configuration it is a mistake.
    if isinstance(value, bool) != (kind is bool) and not isinstance(value, str):
        raise ConfigError(f"{name} is {value!r} ({given.origin}); it must be {wanted}")
    try:
        return convert(value)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ConfigError(f"{name} is {value!r} ({given.origin}); it must be {wanted}") from error


def _whole(value: Any) -> int:
    if isinstance(value, float):
        raise ValueError("not whole")
    return int(value)


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[value.lower()]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _path(value: Any) -> Path:
    if value == "":  # `Path("")` is the current folder
        raise ValueError("empty")
    return Path(value)


_KINDS: dict[Any, tuple[str, Any]] = {
    int: ("a whole number", _whole),
    float: ("a number", float),
    bool: ("true or false", _truth),
    str: ("a text", _text),
    Path: ("a path, or be left out", _path),
}
