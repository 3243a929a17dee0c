"""The files that a name given to `posewire models` stands for: which to fetch, and whether they are damaged."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from posewire.cli.failures import CommandError, say
from posewire.os_errors import reason_of
from posewire_models.manifest import BundleError, bundle_names, find_bundle, read_manifest
from posewire_models.published.catalogue import PublishedFile, catalogue
from posewire_models.published.errors import StoreError
from posewire_models.published.resolution import files_of, files_to_pull
from posewire_models.published.store import Store
from posewire_models.whole_files import file_digest

__all__ = ["Check", "checks_of", "files_to_fetch"]


class Check(NamedTuple):
    """The check of a file with weights: its fault, if any; the remedy for it; the origin of an intact file."""

    fault: Callable[[], str]
    remedy: str
    origin: str = ""


def files_to_fetch(name: str, store: Store, *, quiet: bool) -> list[PublishedFile]:
    """The published file with this name, or the missing files of the bundle with this name.

    Raises:
        CommandError: there is no such model.
    """
    if name in catalogue():
        return [catalogue()[name]]
    manifest = read_manifest(_bundle_folder(name))
    files = files_to_pull(manifest, store)
    if not files and not quiet:
        say(f"{name}: everything is here" if files_of(manifest) else f"{name}: comes with posewire, nothing to fetch")
    return files


def checks_of(name: str, store: Store) -> dict[str, Check]:
    """The checks of the published file with this name, if stored, or of the weights of the bundle with this name.

    Raises:
        CommandError: there is no such model, or a bundle's weights were not fetched.
    """
    if name in catalogue():
        return _checks_of_stored(name, store)
    folder = _bundle_folder(name)
    manifest = read_manifest(folder)
    checks: dict[str, Check] = {}
    for component in manifest.components.values():
        if (weights := component.weights) is not None:
            check = partial(_fault_of_own, folder / weights.file, weights.sha256)
            checks[f"{name}: {weights.file}"] = Check(check, f"take {weights.file} from where {name} came from")
    for stage, files in files_of(manifest).items():
        stored = next((found for file in files if (found := _checks_of_stored(file, store))), None)
        if stored is None:
            raise CommandError(f"{name}: its {stage} is not here; fetch it: posewire models pull {name}")
        checks |= stored
    return checks


def _checks_of_stored(name: str, store: Store) -> dict[str, Check]:
    """The check of a published file; none if it was never fetched."""
    remedy = f"delete the file that is named, then: posewire models pull {name}"
    try:
        record = store.record(name)  # its weights may have been deleted
    except StoreError as error:
        words = str(error)
        return {name: Check(lambda: words, remedy)}
    if record is None:
        return {}

    def fault() -> str:
        found = store.fault(record)
        return f"{found} ({store.path(record)})" if found else ""

    return {name: Check(fault, remedy, f", from {record.source}")}


def _fault_of_own(path: Path, sha256: str) -> str:
    try:
        found = file_digest(path)
    except OSError as error:
        return f"{path} cannot be read: {reason_of(error)}"
    return "" if found == sha256.lower() else f"SHA-256 is {found[:16]}..., should be {sha256[:16]}... ({path})"


def _bundle_folder(name: str) -> Path:
    try:
        return find_bundle(name)
    except BundleError:
        raise CommandError(
            f"unknown model {name!r}; known bundles: {', '.join(bundle_names())}; known files: {', '.join(catalogue())}"
        ) from None
