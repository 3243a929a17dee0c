"""The individual networks of a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch

from posewire_benchmark.random_bundle import described_bundle, random_network
from posewire_models.architectures import NETWORKS, TORCHVISION, build_network
from posewire_models.bundle import find_bundle, weights_folder
from posewire_models.manifest import Component
from posewire_models.network import Network
from posewire_models.published.resolution import STAGES

__all__ = ["BundleNetwork", "bundle_networks", "torchvision_component"]


@dataclass(frozen=True, eq=False)
class BundleNetwork:
    """One network; each `build` returns a new copy.

    Attributes:
        stage: `detector`, `flow` or `pose`.
        component: of the manifest.
        bundle: that it belongs to.
    """

    stage: str
    component: Component
    bundle: str

    @property
    def name(self) -> str:
        """Stage and architecture."""
        return f"{self.stage} {self.component.architecture}"

    @property
    def has_weights(self) -> bool:
        """Whether its weights are available; otherwise it is built with random ones."""
        return self.component.weights is not None

    def build(self) -> Network:
        """Build the network."""
        if self.component.weights is None:
            return cast(Network, random_network(self.component, self.stage))
        folder = weights_folder(self.component, find_bundle(self.bundle))
        return build_network(self.component, folder, self.stage)


def bundle_networks(bundle: str, device: torch.device) -> tuple[list[BundleNetwork], list[str]]:
    """Our networks in a bundle that run on a device, and descriptions of its other parts, which are not our networks.

    Raises:
        BundleError, UnknownFileError: see `described_bundle`.
    """
    manifest = described_bundle(bundle).on(device.type)
    found, others = [], []
    for stage in STAGES:
        component: Component | None = getattr(manifest, stage)
        if component is None:
            continue
        if component.architecture in NETWORKS:
            found.append(BundleNetwork(stage, component, bundle))
        elif component.architecture != TORCHVISION:
            others.append(f"{stage}: {component.architecture}, which is no network")
    return found, others


def torchvision_component(bundle: str) -> Component | None:
    """The bundle's detector, if it is one of torchvision."""
    detector = described_bundle(bundle).detector
    return detector if detector is not None and detector.architecture == TORCHVISION else None
