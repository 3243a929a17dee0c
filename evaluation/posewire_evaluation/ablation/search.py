"""Search for the settings that the paper leaves open: L_Q, box NMS, match and propagation thresholds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from posewire_evaluation.ablation.plots import figure, save
from posewire_evaluation.ablation.scores import Scores
from posewire_evaluation.ablation.tables import Cell, as_text, write_csv
from posewire_evaluation.errors import EvaluationError
from posewire_server.tracking import TrackerConfig

__all__ = ["PARAMETERS", "Objective", "Search", "mean_scores", "search", "write_search"]

PARAMETERS: dict[str, tuple[float, ...]] = {
    "queue_length": (1, 2, 3, 5, 8, 10, 15, 20, 30),
    "box_nms_iou": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
    "match_threshold": (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5),
    "propagation_threshold": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
}
"""Fields of `TrackerConfig` and the values that are tried."""

_SHOWN = 10


class Objective(StrEnum):
    """The score to maximise."""

    MAP = "map"
    MOTA = "mota"
    IDF1 = "idf1"
    HOTA = "hota"

    def of(self, scores: Scores) -> float:
        """Its value in `scores`."""
        return scores.mean_ap if self is Objective.MAP else float(getattr(scores, self.value))


@dataclass(frozen=True)
class Search:
    """The result of a search.

    Attributes:
        objective: the score by which settings were ranked.
        start: the settings that it started from.
        curves: for each parameter, its values with their scores, everything else as in `start`.
        tried: all settings with their scores, best first; on ties, those that differ from `start` in fewer parameters
            come first.
    """

    objective: Objective
    start: TrackerConfig
    curves: dict[str, list[tuple[float, Scores]]]
    tried: list[tuple[TrackerConfig, Scores]]


def search(
    evaluate: Callable[[Sequence[TrackerConfig]], list[Scores]],
    *,
    objective: Objective = Objective.MOTA,
    samples: int = 40,
    seed: int = 0,
) -> Search:
    """Vary one parameter of the defaults at a time, then all of them at random.

    Args:
        evaluate: returns the scores of settings (at least one) in their order; called at most twice.
        objective: the score to maximise.
        samples: number of random combinations of the values in `PARAMETERS`.
        seed: of these combinations.

    Returns:
        Everything that was tried. The same arguments try the same settings.

    Raises:
        EvaluationError: the objective has no value on these data, so settings cannot be compared.
    """
    start = TrackerConfig()
    alone = {name: [_with(start, {name: value}) for value in values] for name, values in PARAMETERS.items()}
    rng = np.random.default_rng(seed)
    joint = [
        _with(start, {name: values[rng.integers(len(values))] for name, values in PARAMETERS.items()})
        for _ in range(samples)
    ]
    known: dict[TrackerConfig, Scores] = {}
    for batch in ([start, *(config for configs in alone.values() for config in configs)], joint):
        new = [config for config in dict.fromkeys(batch) if config not in known]
        if new:
            known |= zip(new, evaluate(new), strict=True)
        if any(math.isnan(objective.of(scores)) for scores in known.values()):
            raise EvaluationError(
                f"{objective} has no value on these data, so settings cannot be compared: sequences with more frames"
                " that show people are needed (of drawn ones: --frames)"
            )
    order = sorted(known.items(), key=lambda tried: (-objective.of(tried[1]), _changes(tried[0], start)))
    curves = {
        name: [(value, known[config]) for value, config in zip(PARAMETERS[name], configs, strict=True)]
        for name, configs in alone.items()
    }
    return Search(objective, start, curves, order)


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """The mean of each score, for example over several sets."""
    return Scores(*(float(np.mean([getattr(each, field.name) for each in scores])) for field in fields(Scores)))


def write_search(found: Search, out_dir: Path) -> str:
    """Write `tune.txt`, `tune.csv` and `tune.png`; returns the text.

    Raises:
        OSError: the folder or a file cannot be written.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    header = (*PARAMETERS, "mAP", "MOTA", "IDF1", "HOTA", "switches")
    rows = [_cells(config, scores) for config, scores in found.tried]
    write_csv(out_dir / "tune.csv", header, rows)
    text = _in_words(found, header, rows)
    (out_dir / "tune.txt").write_text(text, encoding="utf-8")
    _plot(found, out_dir / "tune.png")
    return text


def _with(start: TrackerConfig, values: dict[str, float]) -> TrackerConfig:
    return replace(start, **values)  # type: ignore[arg-type]  # mypy takes every field for every type


def _changes(config: TrackerConfig, start: TrackerConfig) -> int:
    return sum(getattr(config, name) != getattr(start, name) for name in PARAMETERS)


def _cells(config: TrackerConfig, scores: Scores) -> list[Cell]:
    settings = [f"{getattr(config, name):g}" for name in PARAMETERS]
    return [*settings, scores.mean_ap, scores.mota, scores.idf1, scores.hota, scores.switches]


def _in_words(found: Search, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    parts = []
    for name, curve in found.curves.items():
        now = getattr(found.start, name)
        # On ties the current value wins: there is no reason to change it.
        best, _ = max(curve, key=lambda point: (found.objective.of(point[1]), point[0] == now))
        cells: list[list[Cell]] = [
            [f"{value:g}", scores.mean_ap, scores.mota, scores.idf1, scores.hota, scores.switches]
            for value, scores in curve
        ]
        parts.append(
            f"{name}: now {now:g}, best alone {best:g}\n"
            + as_text((name, "mAP", "MOTA", "IDF1", "HOTA", "switches"), cells)
        )
    place = next(rank for rank, (config, _) in enumerate(found.tried, start=1) if config == found.start)
    shown = [*rows[:_SHOWN], *(rows[place - 1 : place] if place > _SHOWN else ())]
    parts.append(
        f"all together: {len(found.tried)} settings by {found.objective}, the ten best; the present ones are number "
        f"{place}\n" + as_text(header, shown)
    )
    return "\n".join(parts)


def _plot(found: Search, path: Path) -> None:
    drawing, panels = figure(columns=len(found.curves), title="One parameter at a time")
    for panel, (name, curve) in zip(panels, found.curves.items(), strict=True):
        values = [value for value, _ in curve]
        for objective in dict.fromkeys((Objective.MOTA, Objective.IDF1, Objective.MAP, found.objective)):
            label = "mAP" if objective is Objective.MAP else objective.upper()
            panel.plot(values, [objective.of(scores) for _, scores in curve], marker=".", label=label)
        panel.axvline(getattr(found.start, name), color="0.6", linestyle=":")
        panel.set_title(name)
    save(drawing, path)
