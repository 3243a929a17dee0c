"""The manifest of a bundle: its networks, with their weights, settings, joints and licences.

`manifest.json` holds one object with the fields of `Manifest`, where `pose`, `detector`, `cpu_detector`, `flow` and
`near_flow` are objects with the fields of `Component`. All of these but `pose` may be null or absent.
"""

from __future__ import annotations

import contextlib
import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from posewire.joints import joint_set
from posewire_models.typed_json import TypedJsonError, from_json
from posewire_models.whole_files import is_plain_name

__all__ = [
    "BundleError",
    "Component",
    "Manifest",
    "WeightsFile",
    "bundle_names",
    "find_bundle",
    "read_manifest",
    "settings_from_json",
]

Settings = TypeVar("Settings")

_BUNDLES = Path(__file__).parent / "bundles"
_MOST_VERSION = 2**32 - 1  # uint32 in the protocol


class BundleError(ValueError):
    """A bundle is unknown, incomplete or inconsistent; the message says where and what to do."""


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A file of weights.

    Attributes:
        file: its name in the bundle's folder.
        sha256: hexadecimal digest.
    """

    file: str
    sha256: str

    def __post_init__(self) -> None:
        if not is_plain_name(self.file):
            raise ValueError(f"file {self.file!r:.100} must be a plain name: weights lie in the bundle's own folder")
        if len(self.sha256) != 64 or set(self.sha256.lower()) - set("0123456789abcdef"):
            raise ValueError(f"sha256 {self.sha256!r} must be 64 hexadecimal digits")


@dataclass(frozen=True, kw_only=True)
class Component:
    """A detector, a flow estimator or a pose network.

    Attributes:
        architecture: its name in `posewire_models.architectures`.
        network: settings of the network, the fields of its config class.
        settings: settings of the stage around it.
        weights: None for architectures without weights.
        published: names of published files, in place of architecture, network and weights: the first one that has been
            fetched or converted is taken. See `posewire_models.published`.
        trained: False if the weights are random placeholders.
        licence: SPDX name of the weights' licence.
        source: what the weights were trained on, or where they come from.
        metrics: results measured with these weights, by name.
    """

    architecture: str = ""
    network: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: WeightsFile | None = None
    published: tuple[str, ...] = ()
    trained: bool = True
    licence: str = ""
    source: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.architecture and not self.published:
            raise ValueError("missing field architecture (or published, with names of published files)")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A bundle.

    Attributes:
        name: its name in configuration and on the wire: one line, not empty.
        version: of the bundle's content, raised with every change of weights.
        description: one sentence.
        joint_set: name of the joints that the pose network finds, see `posewire.joints`.
        pose: the pose network.
        detector: None: callers give boxes, or name a detector.
        cpu_detector: replaces `detector` on a CPU, for which that is too slow, unless `detector` is asked for; None:
            `detector` is always used.
        flow: None: callers name a flow estimator.
        near_flow: on a CPU it replaces `flow` for frames close together in time, where it is good enough and faster,
            see `FlowByGap`; None: `flow` is always used.
    """

    name: str
    version: int
    description: str
    joint_set: str
    pose: Component
    detector: Component | None = None
    cpu_detector: Component | None = None
    flow: Component | None = None
    near_flow: Component | None = None

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable():
            raise ValueError(f"name {self.name!r} must be one line of text, and not empty")
        if not 0 <= self.version <= _MOST_VERSION:
            raise ValueError(f"version {self.version} must be in 0..{_MOST_VERSION}; begin with 1")
        if self.cpu_detector is not None and self.detector is None:
            raise ValueError("cpu_detector replaces detector, and there is none; name it detector, which may be alone")
        for name, component in (("cpu_detector", self.cpu_detector), ("near_flow", self.near_flow)):
            if component is not None and component.published:
                raise ValueError(
                    f"{name}: published weights are for pose, detector and flow alone; name an architecture"
                )
        joint_set(self.joint_set)

    def on(self, device: str) -> Manifest:
        """The manifest for a type of device, such as `cpu`: on a CPU its `detector` is the `cpu_detector`, if any."""
        if device != "cpu" or self.cpu_detector is None:
            return self
        return replace(self, detector=self.cpu_detector)

    @property
    def components(self) -> dict[str, Component]:
        """All that are not None, by their names."""
        stages = ("detector", "flow", "pose", "cpu_detector", "near_flow")
        return {stage: component for stage in stages if (component := getattr(self, stage)) is not None}


def bundle_names() -> tuple[str, ...]:
    """Names of the bundles that come with the package."""
    return tuple(sorted(path.parent.name for path in _BUNDLES.glob("*/manifest.json")))


def find_bundle(name_or_path: str | Path) -> Path:
    """Folder of a bundle, which comes with the package or is given by its path; `BundleError` lists the known names."""
    if str(name_or_path) in bundle_names():
        return _BUNDLES / name_or_path
    folder = Path(name_or_path)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):
        # Not `is_file`: from Python 3.14 on, it is false also for what may not be looked at.
        if stat.S_ISREG((folder / "manifest.json").stat().st_mode):
            return folder
    raise BundleError(
        f"unknown bundle {str(name_or_path)!r}; known bundles: {', '.join(bundle_names())}, or the path of a folder "
        "with a manifest.json"
    )


def read_manifest(folder: Path) -> Manifest:
    """Read `manifest.json` of a bundle's folder.

    Raises:
        BundleError: the file is missing, not JSON, or has unknown, missing or mistyped fields; the message says where.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise BundleError(f"{folder} is no bundle: it has no manifest.json")
    try:
        content = json.loads(path.read_bytes(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # also raised for numbers too long and nesting too deep
        raise BundleError(f"{path} is no valid JSON: {error}") from None
    return settings_from_json(Manifest, content, str(path))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def settings_from_json(kind: type[Settings], values: object, where: str) -> Settings:
    """As `from_json`, for values of a bundle; raises `BundleError`."""
    try:
        return from_json(kind, values, where)
    except TypedJsonError as error:
        raise BundleError(str(error)) from None
