"""Makes the tables of docs/results.md: every tracker on every set, with every fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from posewire_evaluation.ablation.plots import figure, save
from posewire_evaluation.ablation.scores import Scores
from posewire_evaluation.ablation.search import Objective, mean_scores
from posewire_evaluation.ablation.tables import Cell, as_markdown, write_csv
from posewire_evaluation.benchmark_sets.faults import FAULTS
from posewire_evaluation.benchmark_sets.matrix import run_tasks
from posewire_evaluation.benchmark_sets.scenes import SETS, FlowKind
from posewire_evaluation.benchmark_sets.trackers import SetSize, Task, Tracking
from posewire_server.tracking import Similarity

__all__ = ["Results", "compare", "tasks_of", "write_results"]

_EVERYDAY, _MISSED = "all", "missed"
_TITLES = {Objective.MOTA: "MOTA", Objective.IDF1: "IDF1", Objective.HOTA: "HOTA", Objective.MAP: "mAP"}
_MUST_HOLD_ON = ("occlusion", "fast-motion")


@dataclass(frozen=True)
class Results:
    """Scores by set, fault, kind of flow and name of tracker."""

    size: SetSize
    scores: dict[tuple[str, str, FlowKind, str], Scores]

    def of(self, set_name: str, fault: str, tracker: str, flow: FlowKind = FlowKind.DIS) -> Scores:
        """The scores of one tracker."""
        return self.scores[set_name, fault, flow, tracker]

    def trackers(self, flow: FlowKind = FlowKind.DIS) -> list[str]:
        """Names of the trackers compared with this kind of flow."""
        return list(dict.fromkeys(name for _, _, kind, name in self.scores if kind is flow))


def tasks_of(trackers: Sequence[Tracking]) -> list[Task]:
    """All tasks of the page: all faults with DIS; missed detections and low rate also with the other flows."""
    with_dis = [Task(name, fault, FlowKind.DIS, trackers) for fault in FAULTS for name in SETS]
    posewire = [tracker for tracker in trackers if tracker.config is not None]
    with_others = [
        Task(name, fault, flow, posewire)
        for flow in (FlowKind.TRUE, FlowKind.NETWORK)
        for fault in (_MISSED, "low-rate")
        for name in SETS
    ]
    return with_dis + with_others


def compare(
    trackers: Sequence[Tracking], size: SetSize, *, workers: int, progress: Callable[[int], None] = lambda _: None
) -> Results:
    """Run all tasks; raises what `run_tasks` raises."""
    tasks = tasks_of(trackers)
    results = run_tasks(size, tasks, workers=workers, progress=progress)
    return Results(
        size,
        {
            (task.set_name, task.fault, task.flow, tracker.name): scores
            for task, of_task in zip(tasks, results, strict=True)
            for tracker, scores in zip(task.trackers, of_task, strict=True)
        },
    )


def write_results(results: Results, out_dir: Path) -> str:
    """Write `tables.md`, `results.csv` and `faults.png`; returns the Markdown.

    Raises:
        OSError: the folder or a file cannot be written.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    parts = [
        *(
            f"### {_TITLES[objective]}, set by set, all faults\n\n" + _by_set(results, objective)
            for objective in (Objective.MOTA, Objective.IDF1, Objective.HOTA, Objective.MAP)
        ),
        "### Identity switches (mean over the joints), set by set, all faults\n\n" + _switches(results),
        "### MOTA, fault by fault, mean of the sets\n\n" + _by_fault(results, Objective.MOTA),
        "### IDF1, fault by fault, mean of the sets\n\n" + _by_fault(results, Objective.IDF1),
        "### MOTA with missed detections, set by set\n\n" + _by_set(results, Objective.MOTA, _MISSED),
        "### True flow, the network and DIS\n\n" + _flows(results),
        "### What the paper's order says\n\n" + _orders(results),
    ]
    text = "\n".join(parts)
    (out_dir / "tables.md").write_text(text, encoding="utf-8")
    header = ("set", "fault", "flow", "tracker", "mAP", "MOTA", "IDF1", "HOTA", "switches", "precision", "recall")
    rows: list[list[Cell]] = [
        [*map(str, place), s.mean_ap, s.mota, s.idf1, s.hota, s.switches, s.precision, s.recall]
        for place, s in results.scores.items()
    ]
    write_csv(out_dir / "results.csv", header, rows)
    _plot(results, out_dir / "faults.png")
    return text


def _by_set(results: Results, objective: Objective, fault: str = _EVERYDAY) -> str:
    rows: list[list[Cell]] = []
    for tracker in results.trackers():
        values = [objective.of(results.of(name, fault, tracker)) for name in SETS]
        rows.append([tracker, *values, sum(values) / len(values)])
    return as_markdown(("tracker", *SETS, "mean"), rows, best=range(1, len(SETS) + 2))


def _switches(results: Results) -> str:
    rows: list[list[Cell]] = [
        [tracker, *(results.of(name, _EVERYDAY, tracker).switches for name in SETS)] for tracker in results.trackers()
    ]
    return as_markdown(("tracker", *SETS), rows)


def _mean_of_sets(results: Results, fault: str, tracker: str, flow: FlowKind = FlowKind.DIS) -> Scores:
    return mean_scores([results.of(name, fault, tracker, flow) for name in SETS])


def _by_fault(results: Results, objective: Objective) -> str:
    rows: list[list[Cell]] = [
        [tracker, *(objective.of(_mean_of_sets(results, fault, tracker)) for fault in FAULTS)]
        for tracker in results.trackers()
    ]
    return as_markdown(("tracker", *FAULTS), rows, best=range(1, len(FAULTS) + 1))


def _flows(results: Results) -> str:
    """Mean MOTA and IDF1 over the sets, with each kind of flow."""
    faults = list(dict.fromkeys(fault for _, fault, kind, _ in results.scores if kind is FlowKind.TRUE))
    rows: list[list[Cell]] = []
    for tracker in results.trackers(FlowKind.TRUE):
        row: list[Cell] = [tracker]
        for fault in faults:
            for flow in FlowKind:
                scores = _mean_of_sets(results, fault, tracker, flow)
                row.append(f"{scores.mota:.1f} / {scores.idf1:.1f}")
        rows.append(row)
    header = ("MOTA / IDF1", *(f"{fault}, {flow}" for fault in faults for flow in FlowKind))
    return as_markdown(header, rows)


def _orders(results: Results) -> str:
    """Whether multi-flow >= flow >= bbox, and propagation on > off, with missed detections."""
    rows: list[list[Cell]] = []
    for name in _MUST_HOLD_ON:
        for flow in (FlowKind.TRUE, FlowKind.DIS):
            for ending in (" + propagation", ""):
                kinds = (Similarity.MULTI_FLOW, Similarity.FLOW, Similarity.BBOX)
                values = [results.of(name, _MISSED, kind + ending, flow).mota for kind in kinds]
                said = " >= ".join(f"{kind} {value:.1f}" for kind, value in zip(kinds, values, strict=True))
                rows.append([name, str(flow), said + ending, _holds(values[0] >= values[1] >= values[2])])
            for kind in Similarity:
                on, off = (results.of(name, _MISSED, kind + end, flow).mota for end in (" + propagation", ""))
                rows.append([name, str(flow), f"{kind}: propagation on {on:.1f} > off {off:.1f}", _holds(on > off)])
    return as_markdown(("set", "flow", "MOTA with missed detections", "holds"), rows)


def _holds(truth: bool) -> str:
    return "yes" if truth else "**no**"


def _plot(results: Results, path: Path) -> None:
    drawing, panels = figure(columns=2, title="Mean of the sets, fault by fault")
    for panel, objective in zip(panels, (Objective.MOTA, Objective.IDF1), strict=True):
        for tracker in results.trackers():
            if tracker.startswith(("bbox", "multi-flow", "ByteTrack", "Norfair")):
                values = [objective.of(_mean_of_sets(results, fault, tracker)) for fault in FAULTS]
                panel.plot(list(FAULTS), values, marker=".", label=tracker)
        panel.set_title(_TITLES[objective])
    save(drawing, path)
