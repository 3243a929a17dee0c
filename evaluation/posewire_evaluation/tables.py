"""Scores as tables for the terminal and as documents for programs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.table import Table

from posewire.cli.quantities import quantity
from posewire_evaluation.coco import CocoScores
from posewire_evaluation.identity import IdentityScores
from posewire_evaluation.mot import OVERALL, MotScores
from posewire_evaluation.posetrack import PARTS, PerJoint, PoseTrackScores
from posewire_evaluation.posetrack_folders import PoseTrackReport

__all__ = ["coco_document", "coco_tables", "mot_document", "mot_tables", "posetrack_document", "posetrack_tables"]

_POSETRACK_COLUMNS = {"ap": "AP", "mota": "MOTA", "motp": "MOTP", "precision": "precision", "recall": "recall"}
_POSETRACK_METRICS = (*_POSETRACK_COLUMNS, "ap_precision", "ap_recall")
_COUNTS = ("misses", "false_positives", "switches", "matches")
_IDENTITY_NAMES = {
    "hota": "HOTA", "det_a": "DetA", "ass_a": "AssA", "loc_a": "LocA", "idf1": "IDF1", "idp": "IDP", "idr": "IDR",
}  # fmt: skip
# Name in motmetrics, heading, decimals of a percentage or None for a count.
_MOT_COLUMNS = (
    ("mota", "MOTA", 1),
    ("motp", "MOTP", 3),
    ("idf1", "IDF1", 1),
    ("idp", "IDP", 1),
    ("idr", "IDR", 1),
    ("recall", "Rcll", 1),
    ("precision", "Prcn", 1),
    ("num_unique_objects", "GT", None),
    ("mostly_tracked", "MT", None),
    ("partially_tracked", "PT", None),
    ("mostly_lost", "ML", None),
    ("num_false_positives", "FP", None),
    ("num_misses", "FN", None),
    ("num_switches", "IDs", None),
    ("num_fragmentations", "FM", None),
)


def coco_tables(scores: CocoScores) -> Iterator[Table]:
    """One table for keypoints and one for boxes, if present."""
    for title, values in (("keypoints", scores.keypoints), ("boxes", scores.boxes)):
        if values is not None:
            table = _table(f"COCO {title}", *values)
            table.add_row(*(f"{value:.3f}" for value in values.values()))
            yield table


def coco_document(scores: CocoScores) -> dict[str, Any]:
    """The numbers as pycocotools returns them."""
    return asdict(scores)


def posetrack_tables(report: PoseTrackReport) -> Iterator[Table]:
    """A table by joint, poseval's table by body part, and a table of identity scores."""
    scores = report.scores
    metrics = {heading: _metric(scores, name) for name, heading in _POSETRACK_COLUMNS.items()}
    joints = _table(
        f"{quantity(scores.sequences, 'sequence')}, {quantity(scores.frames, 'labelled frame')}",
        "joint",
        *metrics,
        "switches",
    )
    for row, name in enumerate(scores.ap.names):
        joints.add_row(name, *(_percent(metric.values[row]) for metric in metrics.values()), str(scores.switches[row]))
    totals = [_percent(metric.total) for metric in metrics.values()]
    joints.add_section()
    joints.add_row("total", *totals, str(scores.switches.sum()))
    yield joints
    parts = _table("by part, as poseval", "", *PARTS, "Total")
    for heading, metric in metrics.items():
        by_part = metric.by_part
        parts.add_row(heading, *(_percent(by_part.get(part, math.nan)) for part in PARTS), _percent(metric.total))
    yield parts
    identities = _table("identities, by OKS of the poses", *_IDENTITY_NAMES.values())
    identities.add_row(*_identity_cells(report.identities))
    yield identities


def posetrack_document(report: PoseTrackReport) -> dict[str, Any]:
    """All scores, in percent, null where undefined; and the counts."""
    scores = report.scores
    document: dict[str, Any] = {"sequences": scores.sequences, "frames": scores.frames}
    for name in _POSETRACK_METRICS:
        metric = _metric(scores, name)
        document[name] = {
            "total": _or_null(metric.total),
            "by_part": {part: _or_null(value) for part, value in metric.by_part.items()},
            "by_joint": {joint: _or_null(value) for joint, value in zip(metric.names, metric.values, strict=True)},
        }
    for name in _COUNTS:
        counts = getattr(scores.counts, name).tolist()
        document[name] = {"total": sum(counts), "by_joint": dict(zip(scores.ap.names, counts, strict=True))}
    return document | {"identities": asdict(report.identities), "notes": list(report.notes)}


def mot_tables(scores: MotScores) -> Iterator[Table]:
    """One table, one row per sequence."""
    identity_names = ("hota", "det_a", "ass_a", "loc_a")
    headings = [heading for _, heading, _ in _MOT_COLUMNS]
    table = _table("MOTChallenge, IoU 0.5", "sequence", *headings, *(_IDENTITY_NAMES[name] for name in identity_names))
    for sequence, metrics in scores.metrics.items():
        if sequence == OVERALL:
            table.add_section()
        identities = asdict(scores.identities[sequence])
        table.add_row(
            sequence,
            *(_mot_cell(metrics[name], decimals) for name, _, decimals in _MOT_COLUMNS),
            *(_percent(identities[name]) for name in identity_names),
        )
    yield table


def mot_document(scores: MotScores) -> dict[str, Any]:
    """By sequence: motmetrics' numbers in 0..1 under its names, and TrackEval's in percent; then the notes."""
    sequences = {
        sequence: {name: _or_null(value) for name, value in metrics.items()}
        | {"trackeval": asdict(scores.identities[sequence])}
        for sequence, metrics in scores.metrics.items()
    }
    return {"sequences": sequences, "notes": list(scores.notes)}


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place == 0 and heading in ("", "joint", "sequence") else "right")
    return table


def _metric(scores: PoseTrackScores, name: str) -> PerJoint:
    metric = getattr(scores, name)
    assert isinstance(metric, PerJoint)
    return metric


def _identity_cells(scores: IdentityScores) -> list[str]:
    values: Mapping[str, float] = asdict(scores)
    return [_percent(values[name]) for name in _IDENTITY_NAMES]


def _mot_cell(value: float, decimals: int | None) -> str:
    if math.isnan(value):
        return "-"
    if decimals is None:
        return f"{value:.0f}"
    # MOTP is a distance, all others are shares.
    return f"{value:.3f}" if decimals > 1 else f"{100 * value:z.{decimals}f}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:z.1f}"


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
