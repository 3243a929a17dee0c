"""Checks of a run's folder, made before data are read, which may take minutes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from posewire.os_errors import reason_of
from posewire_models.training.checkpoint import load_checkpoint
from posewire_models.weights import WeightsError

__all__ = ["check_run_folder"]


def check_run_folder(out: Path, *, resume: bool) -> None:
    """Check that a run can write its files there. Leaves nothing behind.

    Raises:
        FileExistsError: it holds a run, perhaps of days, that a new one would overwrite.
        OSError: it cannot be created or written to.
        WeightsError: `resume` without a usable checkpoint.
    """
    checkpoint = out / "checkpoint.pt"
    if resume:
        load_checkpoint(checkpoint)
    elif checkpoint.exists():
        try:
            what = f"a run of {load_checkpoint(checkpoint).get('step', '?')} steps: go on with --resume"
        except WeightsError:
            what = "a checkpoint that cannot be read: move it away"
        raise FileExistsError(f"{out} holds {what}, or give another --out")
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise OSError(f"the folder {out} cannot be made or written to: {reason_of(error)}") from error
