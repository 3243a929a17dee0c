"""Resolving published names in a bundle's manifest to weights in the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

from posewire_models.manifest import Component, Manifest, WeightsFile
from posewire_models.published.catalogue import PublishedFile, published_file
from posewire_models.published.errors import NotStoredError
from posewire_models.published.store import Store

__all__ = ["STAGES", "files_of", "files_to_pull", "resolve"]

STAGES = ("detector", "flow", "pose")
"""Names of a manifest's components."""


def resolve(manifest: Manifest, stages: Collection[str], store: Store, bundle: str = "") -> Manifest:
    """`manifest` with each published name replaced by architecture, network and weights.

    Args:
        manifest: of any bundle.
        stages: those whose weights are needed; the others are only described.
        store: of the weights.
        bundle: the bundle's name for `posewire models pull` in errors; empty: its files are named instead.

    Raises:
        NotStoredError: weights that are needed are not in the store; the message says how to get all of them.
        UnknownFileError: a name that is not in the catalogue.
    """
    changes: dict[str, Any] = {}
    missing = []
    for stage, names in files_of(manifest).items():
        stored = next((name for name in names if store.find(name)), None)
        if stored is None and stage in stages:
            missing.append(stage)
        file = published_file(stored) if stored else _best_to_pull(names)
        changes[stage] = _described(getattr(manifest, stage), file, store)
    if missing:
        raise NotStoredError(_what_to_do(manifest, missing, store, bundle))
    return dataclasses.replace(manifest, **changes)


def files_of(manifest: Manifest) -> dict[str, tuple[str, ...]]:
    """The published names that each stage may take, best first; stages that name none are left out."""
    components = {stage: getattr(manifest, stage) for stage in STAGES}
    return {stage: component.published for stage, component in components.items() if component and component.published}


def files_to_pull(manifest: Manifest, store: Store) -> list[PublishedFile]:
    """What to fetch for `manifest`: for each stage without stored weights, the best file that can be fetched."""
    named = files_of(manifest).values()
    return [_best_to_pull(names) for names in named if not any(store.find(name) for name in names)]


def _best_to_pull(names: Sequence[str]) -> PublishedFile:
    files = [published_file(name) for name in names]
    return next((file for file in files if file.address), files[0])


def _described(component: Component, file: PublishedFile, store: Store) -> Component:
    record = store.find(file.name)
    return dataclasses.replace(
        component,
        architecture=file.architecture,
        network=file.network,
        weights=WeightsFile(file=record.file, sha256=record.sha256) if record else None,
        published=(file.name,),
        licence=file.licence,
        source=file.source,
        metrics=file.figures,
    )


def _what_to_do(manifest: Manifest, missing: Sequence[str], store: Store, bundle: str) -> str:
    named = files_of(manifest)
    wanted = "; ".join(f"{stage}: {' or '.join(named[stage])}" for stage in missing)
    files = [_best_to_pull(named[stage]) for stage in missing]
    command = f"posewire models pull {bundle or ' '.join(file.name for file in files)}"
    return (
        f"bundle {manifest.name!r} needs published weights that are not in {store.weights} ({wanted}). Fetch them, "
        f"about {sum(file.megabytes for file in files)} MB, with: {command}"
    )
