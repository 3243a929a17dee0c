"""Tables as text, Markdown and CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Cell", "as_markdown", "as_text", "write_csv"]

Cell = str | float | int


def as_text(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Aligned columns: text left, numbers right; floats have one decimal."""
    shown = [list(header), *([_in_words(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in shown) for column in range(len(header))]
    numeric = [all(not isinstance(row[column], str) for row in rows) for column in range(len(header))]
    lines = (
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        for row in shown
    )
    return "\n".join(line.rstrip() for line in lines) + "\n"


def as_markdown(header: Sequence[str], rows: Sequence[Sequence[Cell]], best: Sequence[int] = ()) -> str:
    """A table as in the documentation; in the columns `best`, the highest number is bold."""
    tops = {column: max((_rounded(row[column]) for row in rows), default=-math.inf) for column in best}
    tops = {column: top for column, top in tops.items() if top > -math.inf}
    lines = ["| " + " | ".join(header) + " |", "|" + "-|" * len(header)]
    for row in rows:
        cells = [
            f"**{_in_words(cell)}**" if _rounded(cell) == tops.get(column) else _in_words(cell)
            for column, cell in enumerate(row)
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Write the table as CSV, with all digits."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _in_words(cell: Cell) -> str:
    if isinstance(cell, float):
        return "-" if math.isnan(cell) else f"{cell:z.1f}"
    return str(cell)


def _rounded(cell: Cell) -> float:
    return -math.inf if isinstance(cell, str) or math.isnan(cell) else round(cell, 1)
