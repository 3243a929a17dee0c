"""Bundles with the same architectures and random weights: for measuring speed without the published weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from posewire_models.architectures import NETWORKS, TORCHVISION, untrained_network
from posewire_models.detectors.torchvision_models import detection_network
from posewire_models.manifest import Component, Manifest, find_bundle, read_manifest
from posewire_models.published.resolution import resolve
from posewire_models.published.store import Store
from posewire_models.whole_files import file_digest

__all__ = ["described_bundle", "random_network", "write_random_bundle"]


def described_bundle(bundle: str) -> Manifest:
    """The manifest of a bundle with the architectures of its published parts, even if their weights are missing.

    Raises:
        BundleError, UnknownFileError: there is no such bundle, or it names unknown files.
    """
    return resolve(read_manifest(find_bundle(bundle)), (), Store())


def random_network(component: Component, where: str) -> nn.Module:
    """A network of the component's architecture with random weights, the same in every call.

    Raises:
        BundleError: a faulty config, or an architecture without a network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if component.architecture == TORCHVISION:
            return detection_network(str(component.network["name"]))
        return untrained_network(component.architecture, component.network, where)


def write_random_bundle(bundle: str, folder: Path) -> Path:
    """Write a bundle like `bundle` to `folder`, which is created.

    Raises:
        BundleError, UnknownFileError: see `described_bundle`.
    """
    folder.mkdir(parents=True)
    manifest = described_bundle(bundle)
    components = {stage: _component(stage, component, folder) for stage, component in manifest.components.items()}
    content = _plain(manifest) | components
    (folder / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def _component(stage: str, component: Component, folder: Path) -> dict[str, Any]:
    content = _plain(component) | {"published": [], "metrics": {}}
    if component.architecture in (*NETWORKS, TORCHVISION):
        path = folder / f"{stage}.safetensors"
        state = random_network(component, stage).state_dict()
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
        digest = file_digest(path)
        content |= {"weights": {"file": path.name, "sha256": digest}, "trained": False}
    return content


def _plain(settings: Manifest | Component) -> dict[str, Any]:
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
