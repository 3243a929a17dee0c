"""Loss curves and sample pictures of a run: a CSV file and PNGs, and TensorBoard events if it is installed."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import Tensor

from posewire_models.whole_files import replacing

__all__ = ["Curves"]


class Curves:
    """Writes `curves.csv` (step, name, value), `samples.png` (the newest) and TensorBoard events of a run.

    Args:
        folder: of the run.
        step: from which the run continues; later rows, left by a run that was killed, are removed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        _drop_after(step, folder / "curves.csv")
        self._board: Any = None
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder), purge_step=step + 1)

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Write one value per figure for this step."""
        with (self._folder / "curves.csv").open("a", newline="") as file:
            csv.writer(file).writerows([step, name, f"{value:.8g}"] for name, value in figures.items())
        if self._board:
            for name, value in figures.items():
                self._board.add_scalar(name, value, step)

    def show(self, step: int, sheet: Tensor) -> None:
        """Write a picture, uint8 `(3, h, w)` RGB."""
        pixels = sheet.permute(1, 2, 0).cpu().numpy()
        cv2.imwrite(str(self._folder / "samples.png"), np.ascontiguousarray(pixels[:, :, ::-1]))
        if self._board:
            self._board.add_image("samples", sheet, step)


def _drop_after(step: int, file: Path) -> None:
    """Remove rows of later steps and incomplete rows from the file."""
    if not file.exists():
        return
    rows = file.read_bytes().splitlines(keepends=True)
    kept = [row for row in rows if row.endswith(b"\n") and (at := row.partition(b",")[0]).isdigit() and int(at) <= step]
    if kept != rows:
        with replacing(file) as unfinished:
            unfinished.write_bytes(b"".join(kept))
