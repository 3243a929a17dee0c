"""The catalogue of published files that posewire can use: `files.toml`, read once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from posewire.joints import joint_set
from posewire_models.published.errors import UnknownFileError
from posewire_models.typed_json import from_json

__all__ = ["PublishedFile", "catalogue", "published_file"]

_FILES = Path(__file__).with_name("files.toml")


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """A published file of weights.

    Attributes:
        name: posewire's name for it.
        file: its publisher's name for it.
        address: where it is fetched from; empty: it must be fetched by hand, see `by_hand`.
        by_hand: where to find it by hand.
        sha256_prefix: first digits of its digest; empty: not published.
        family: naming scheme of its tensors, a key of the converters.
        channels: heatmaps to keep, in this order; empty: all.
        architecture: what the converted weights fit: a key of `posewire_models.architectures`, or `torchvision`.
        network: settings of the network, with the normalisation of its input.
        joint_set: the joints that a pose network finds; empty for other networks.
        input: description of the network's input.
        megabytes: approximate size of the file.
        licence: of the weights.
        source: who made them, and what they were trained on.
        figures: accuracy as stated by the publisher.
    """

    name: str
    file: str
    address: str = ""
    by_hand: str = ""
    sha256_prefix: str = ""
    family: str
    channels: tuple[int, ...] = ()
    architecture: str
    network: Mapping[str, Any]
    joint_set: str = ""
    input: str
    megabytes: int
    licence: str
    source: str
    figures: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if Path(self.file).name != self.file or Path(self.name).name != self.name:
            raise ValueError(f"name {self.name!r} and file {self.file!r} must be plain names, without a folder")
        if self.address and urlsplit(self.address).scheme not in ("http", "https"):
            raise ValueError(f"address {self.address!r} must begin with https://")
        if bool(self.address) == bool(self.by_hand):
            raise ValueError(f"{self.name!r} needs either an address or a way to find it by hand")
        if set(self.sha256_prefix) - set("0123456789abcdef"):
            raise ValueError(f"sha256_prefix {self.sha256_prefix!r} must be hexadecimal digits in lower case")
        if self.joint_set:
            joint_set(self.joint_set)


@cache
def catalogue() -> Mapping[str, PublishedFile]:
    """All published files by name, in the order of `files.toml`."""
    entries = tomllib.loads(_FILES.read_text(encoding="utf-8"))
    return MappingProxyType(
        {
            name: from_json(PublishedFile, entry | {"name": name}, f"{_FILES.name}: {name}")
            for name, entry in entries.items()
        }
    )


def published_file(name: str) -> PublishedFile:
    """The published file called `name`; `UnknownFileError` lists the known ones."""
    if name not in catalogue():
        raise UnknownFileError(f"unknown published file {name!r}; known files: {', '.join(catalogue())}")
    return catalogue()[name]
