"""The paper's Table 5: the effect of joint propagation and each similarity, for every detector and pose network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from posewire_evaluation.ablation.data_set import LabelledVideo
from posewire_evaluation.ablation.networks import Networks
from posewire_evaluation.ablation.plots import figure, save
from posewire_evaluation.ablation.tables import Cell, as_text, write_csv
from posewire_evaluation.ablation.variants import TABLE_5, Measured, measure

__all__ = ["Row", "ablate", "write_report"]

_HEADER = ("networks", "row", "propagation", "similarity", "mAP", "MOTA", "IDF1", "HOTA", "switches")
_COSTS = ("network s", "poses estimated", "tracker s")


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        networks: name of the networks.
        number: 1 to 6, as in the paper.
        measured: the result.
    """

    networks: str
    number: int
    measured: Measured


def ablate(
    choices: Sequence[Networks],
    sequences: Sequence[LabelledVideo],
    cache_dir: Path,
    *,
    workers: int,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Row]:
    """All six rows for every choice of networks.

    Args:
        choices: the networks to compare.
        sequences: videos with their truth.
        cache_dir: where outputs of networks are kept.
        workers: number of processes that track in parallel; 0: only this one.
        progress: called with the number of steps done, of `len(choices) * (len(sequences) + len(TABLE_5))`.

    Raises:
        EvaluationError: see `measure`.
    """
    rows: list[Row] = []
    for place, networks in enumerate(choices):
        before = place * (len(sequences) + len(TABLE_5))
        measured = measure(
            networks,
            sequences,
            TABLE_5,
            cache_dir,
            workers=workers,
            progress=lambda done, before=before: progress(before + done),  # type: ignore[misc]
        )
        rows += [Row(networks.name, number, each) for number, each in enumerate(measured, start=1)]
    return rows


def write_report(rows: Sequence[Row], out_dir: Path) -> str:
    """Write `table_5.txt`, `table_5.csv` and `table_5.png`; returns the text.

    Raises:
        OSError: the folder or a file cannot be written.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    cells = [_cells(row) for row in rows]
    text = as_text((*_HEADER, *_COSTS), cells)
    (out_dir / "table_5.txt").write_text(text, encoding="utf-8")
    write_csv(out_dir / "table_5.csv", (*_HEADER, *_COSTS), cells)
    _plot(rows, out_dir / "table_5.png")
    return text


def _cells(row: Row) -> list[Cell]:
    config, scores, spent = row.measured.variant.config, row.measured.scores, row.measured.networks
    return [
        row.networks,
        row.number,
        "on" if config.propagation else "off",
        str(config.similarity),
        scores.mean_ap,
        scores.mota,
        scores.idf1,
        scores.hota,
        scores.switches,
        spent.seconds,
        spent.poses,
        row.measured.tracking_s,
    ]


def _plot(rows: Sequence[Row], path: Path) -> None:
    names = list(dict.fromkeys(row.networks for row in rows))
    drawing, panels = figure(columns=2, title="Joint propagation and similarities (Table 5)")
    labels = [f"{row.number} {row.measured.variant.config.similarity}" for row in rows if row.networks == names[0]]
    for panel, title in zip(panels, ("mAP", "MOTA"), strict=True):
        for name in names:
            of_name = [row.measured.scores for row in rows if row.networks == name]
            values = [scores.mean_ap if title == "mAP" else scores.mota for scores in of_name]
            panel.plot(labels, values, marker="o", label=name)
        panel.axvline(1.5, color="0.7", linestyle=":")
        panel.set_title(f"{title} (left: no propagation)")
        panel.tick_params(axis="x", rotation=30)
    save(drawing, path)
