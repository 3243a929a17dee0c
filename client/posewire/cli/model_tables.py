"""The tables of `posewire models list`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.table import Table

from posewire_models.manifest import Manifest, bundle_names, find_bundle, read_manifest
from posewire_models.published.catalogue import catalogue
from posewire_models.published.errors import StoreError
from posewire_models.published.resolution import files_of, files_to_pull, resolve

if TYPE_CHECKING:
    from posewire_models.published.store import Store

__all__ = ["bundle_table", "file_table"]

_DAMAGED = "damaged: see verify"
# Name of a figure in a manifest or the catalogue -> its text in the table; the first figure available is shown.
_ACCURACY = {
    "coco_val2017_keypoint_ap": "keypoint AP {:.3f}",
    "coco_held_out_keypoint_ap_given_boxes": "keypoint AP {:.3f} (given boxes, held-out COCO)",
    "posetrack18_val_map_given_boxes": "PoseTrack18 mAP {:.3f} (given boxes)",
    "coco_val2017_box_ap": "box AP {:.3f} (all classes)",
    "flyingchairs_epe": "end-point error {:.2f} (FlyingChairs)",
}


def bundle_table(store: Store) -> Table:
    """The bundles that come with posewire, and whether their weights are stored."""
    table = _table("bundle", "weights", "pose network", "accuracy")
    for name in bundle_names():
        manifest = read_manifest(find_bundle(name))
        try:
            manifest = resolve(manifest, (), store)
            weights = _weights(manifest, store)
        except StoreError:
            weights = _DAMAGED
        network = ", ".join(manifest.pose.published) or manifest.pose.architecture
        table.add_row(name, weights, network, _accuracy(manifest.pose.metrics))
    return table


def file_table(store: Store) -> Table:
    """The published files, and whether they are stored."""
    table = _table("published file", "here", "MB", "licence", "accuracy, as published")
    for file in catalogue().values():
        absent = "no" if file.address else "no: convert yours"
        try:
            here = "yes" if store.find(file.name) else absent
        except StoreError:
            here = _DAMAGED
        table.add_row(file.name, here, str(file.megabytes), file.licence, _accuracy(file.figures))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _weights(manifest: Manifest, store: Store) -> str:
    if not files_of(manifest):
        return "come with posewire"
    missing = files_to_pull(manifest, store)
    return f"to fetch: {sum(file.megabytes for file in missing)} MB" if missing else "here"


def _accuracy(figures: Mapping[str, float]) -> str:
    return next((text.format(figures[name]) for name, text in _ACCURACY.items() if name in figures), "")
