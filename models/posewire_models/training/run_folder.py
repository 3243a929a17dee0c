"""The folder of a run: checks before data are read, which may take minutes, and a lock from then on."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from posewire.os_errors import reason_of
from posewire_models.training.checkpoint import load_checkpoint
from posewire_models.weights import WeightsError
from posewire_models.whole_files import remove_unfinished

__all__ = ["alone_in", "check_run_folder"]


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


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Make the folder if needed, and keep other runs out of it during the block, at the longest until the process ends.

    Unfinished files, left by a run that was killed while it wrote them, are removed. So are, at the end, folders that
    were made and in which nothing was written.

    Raises:
        BlockingIOError: another run uses it.
        OSError: it cannot be made.
    """
    made = [folder for folder in (out, *out.absolute().parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    folder = os.open(out, os.O_RDONLY)
    try:
        if _locked(folder, out):
            for name in ("checkpoint.pt", "weights.safetensors", "curves.csv"):
                remove_unfinished(out, name)
        try:
            yield
        finally:
            with suppress(OSError):  # not empty
                for one in made:
                    one.rmdir()
    finally:
        os.close(folder)


def _locked(folder: int, out: Path) -> bool:
    """Whether the open folder is locked now: not on a file system without locks."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(
            errno.EWOULDBLOCK, f"another run uses {out}: wait for its end, or give another --out"
        ) from None
    except OSError:
        return False
    return True
