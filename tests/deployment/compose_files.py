"""The compose files as they are written, without a Docker: variables filled in, profiles and files put together."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any, TypeAlias

import yaml

__all__ = ["COMPOSE", "PROFILES", "ROOT", "SECURE", "environment", "extended", "read", "running", "secured"]

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "compose.yaml"
SECURE = ROOT / "docker" / "compose.secure.yaml"
PROFILES = ("gpu", "cpu", "scale", "scale-cpu")

Service: TypeAlias = "dict[str, Any]"

_VARIABLE = re.compile(r"\$\{\w+(?::?-([^}]*))?\}")


class _Loader(yaml.SafeLoader):
    """Takes compose's own tags for what they are set on."""


def _plain(loader: _Loader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return None


_Loader.add_constructor("!override", _plain)
_Loader.add_constructor("!reset", _plain)


def read(file: Path) -> dict[str, Any]:
    """A file, with the defaults of its variables."""
    text = _VARIABLE.sub(lambda match: match[1] or "", file.read_text(encoding="utf-8"))
    return dict(yaml.load(text, _Loader))


def running(compose: dict[str, Any], profile: str) -> dict[str, Service]:
    """The services of a profile."""
    services: dict[str, Service] = compose["services"]
    return {name: service for name, service in services.items() if profile in service.get("profiles", (profile,))}


def secured() -> dict[str, Any]:
    """compose.yaml with compose.secure.yaml on top: mappings are merged, here all else is replaced."""
    return _merged(read(COMPOSE), read(SECURE))


def extended(compose: dict[str, Any], service: Service) -> Service:
    """A service that `extends` another one, of this file, put together likewise."""
    merged: Service = _merged(compose["services"][service["extends"]["service"]], service)
    del merged["extends"]
    return merged


def environment(service: Service) -> dict[str, str]:
    """Its variables, all of which must be texts: YAML's own `true` and numbers come out otherwise than written."""
    variables = {name: value for name, value in service.get("environment", {}).items() if value is not None}
    assert all(isinstance(value, str) for value in variables.values()), variables
    return variables


def _merged(base: Any, over: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return copy.deepcopy(over)
    return {
        key: _merged(base[key], over[key])
        if key in base and key in over
        else copy.deepcopy(over.get(key, base.get(key)))
        for key in base | over
    }
