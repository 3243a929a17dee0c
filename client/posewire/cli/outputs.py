"""Checks of the files and folders that a command will write, before any work.

They ask `os.path`, not `pathlib`, whose tests of what a path is raise errors of their own before Python 3.14.
"""

from __future__ import annotations

import itertools
import os
import stat
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from posewire.cli.failures import CommandError, UsageError
from posewire.errors import OutputError
from posewire.os_errors import reason_of
from posewire.output_files import AtomicPath

__all__ = ["check_folder", "check_folder_of", "check_outputs", "check_video_output", "is_special", "make_folder"]


def check_outputs(outputs: Mapping[str, Path | None], inputs: Iterable[str | Path] = ()) -> None:
    """Check before any work that files can be written, and that none would overwrite an input or another output.

    Args:
        outputs: by their flags, such as `--out`.
        inputs: files, folders of pictures, and other sources that are read meanwhile.

    Raises:
        CommandError: a folder is missing, or the path itself is a folder.
        OutputError: the file cannot be created or written to.
        UsageError: an output is one of the inputs or another output, or `-`.
    """
    wanted = [(flag, path) for flag, path in outputs.items() if path is not None]
    for flag, path in wanted:
        _check_output(flag, path)
        for source in inputs:
            if (read := _read_from(source, path)) is not None:
                raise UsageError(f"{flag} {path} would overwrite {read}, which is read; give {flag} another name")
    for (flag, path), (other_flag, other) in itertools.combinations(wanted, 2):
        if not is_special(path) and _same_file(path, other):
            raise UsageError(f"{flag} {path} and {other_flag} {other} are the same file; give one another name")


def check_video_output(flag: str, path: Path | None) -> None:
    """Check before any work that a video can have this name.

    Raises:
        UsageError: it cannot; the message suggests other suffixes.
    """
    # Imported here and below, so that commands without videos do not need PyAV.
    from posewire.writers._video import check_video_name

    try:
        if path is not None:
            check_video_name(path)
    except OutputError as error:
        raise UsageError(f"{flag}: {error}") from error


def check_folder(path: Path) -> None:
    """Check before any work that a folder can be created and written to; leaves nothing behind.

    Raises:
        CommandError: it cannot.
    """
    there = next(folder for folder in (path, *path.absolute().parents) if os.path.exists(folder))
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise _not_writable(path, error) from error


def make_folder(path: Path) -> None:
    """Create the folder of the results before hours are spent on them.

    Raises:
        CommandError: it cannot be created or written to.
    """
    check_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(path, error) from error


def _not_writable(path: Path, error: OSError) -> CommandError:
    return CommandError(f"the folder {path} cannot be made or written to: {reason_of(error)}")


def is_special(path: str | Path) -> bool:
    """Whether it is a pipe or device, which is not overwritten as a file would be."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _check_output(flag: str, path: Path) -> None:
    if path == Path("-"):
        raise UsageError(f"{flag} - would be standard output, but this is written whole at the end; give a file name")
    if os.path.isdir(path):
        raise CommandError(f"{path} cannot be written: it is a folder; name a file")
    check_folder_of(path)
    AtomicPath(path).discard()


def check_folder_of(path: Path) -> None:
    """Check that the folder of a file that is to be written exists.

    Raises:
        CommandError: it does not, or access to it is denied.
    """
    # A link may point to a file that does not exist yet.
    folder = Path(os.path.realpath(path)).parent if os.path.islink(path) else path.parent
    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_folder = False
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {reason_of(error)}") from error
    if not is_folder:
        raise CommandError(f"{path} cannot be written: the folder {folder} does not exist; make it first")


def _read_from(source: str | Path, path: Path) -> Path | None:
    """The file of a source that `path` would overwrite: the source itself, or a picture in its folder."""
    file = Path(str(source).removeprefix("file://"))
    if not os.path.isdir(file):
        return file if _same_file(file, path) else None
    if not os.path.exists(path):
        return None
    from posewire.sources import PICTURE_SUFFIXES

    pictures = (each for each in file.iterdir() if each.suffix.lower() in PICTURE_SUFFIXES)
    return next((each for each in pictures if _same_file(each, path)), None)


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them does not exist
        return os.path.realpath(one) == os.path.realpath(other)
