"""Figures drawn by matplotlib without a display."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from posewire_evaluation.errors import EvaluationError

__all__ = ["check_matplotlib", "figure", "save"]


def check_matplotlib() -> None:
    """Check that figures can be drawn. Call it before hours of work.

    Raises:
        EvaluationError: matplotlib is not installed; the message says how to get it.
    """
    _figure_class()


def figure(columns: int, title: str) -> tuple[Any, list[Any]]:
    """A figure with panels side by side: returns the figure and its axes; raises like `check_matplotlib`."""
    drawing = _figure_class()(figsize=(3.4 * columns, 3.4), layout="constrained")
    drawing.suptitle(title, fontsize=10)
    panels = [drawing.add_subplot(1, columns, place + 1) for place in range(columns)]
    for panel in panels:
        panel.grid(alpha=0.3)
        panel.tick_params(labelsize=8)
    return drawing, panels


def save(drawing: Any, path: Path) -> None:
    """Write a figure as a small PNG. The same figure gives the same bytes."""
    for panel in drawing.axes:
        panel.title.set_fontsize(9)
    handles, labels = drawing.axes[0].get_legend_handles_labels()  # the same in all panels
    drawing.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=7)
    drawing.savefig(path, dpi=110, metadata={"Software": None})


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise EvaluationError("plots need matplotlib; install it: pip install 'posewire[server,eval]'") from error
    return Figure
