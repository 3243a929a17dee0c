"""File names and digests, and writing files that get their final name only once they are complete."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

__all__ = ["commit", "file_digest", "is_plain_name", "remove_unfinished", "replacing", "temporary_file"]

_MOST_BYTES = 255  # of a file's name, on all usual file systems


def is_plain_name(name: str) -> bool:
    """Whether `name` is the name of a file in a folder: not a path to elsewhere, nor what no file may be called."""
    return (
        Path(name).name == name and name not in ("", "..") and name.isprintable() and len(name.encode()) <= _MOST_BYTES
    )


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write, which replaces `path` atomically at the end of the block, if nothing failed."""
    with temporary_file(path.parent, path.name) as temporary:
        yield temporary
        commit(temporary, path)


@contextlib.contextmanager
def temporary_file(folder: Path, name: str) -> Iterator[Path]:
    """An empty temporary file, which is deleted afterwards unless it was renamed; `name`: its intended name."""
    path = folder / f".{name}.{secrets.token_hex(4)}.tmp"
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # minus the umask
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def remove_unfinished(folder: Path, name: str) -> None:
    """Delete the temporary files for `name` that a process left there when it was killed; no other may write it now."""
    for left in folder.glob(f".{name}.*.tmp"):
        left.unlink(missing_ok=True)


def commit(temporary: Path, final: Path) -> None:
    """Rename so that after a power failure either the old or the new file is there, complete."""
    _sync(temporary)
    temporary.replace(final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
