"""Result files, which appear under their final name only when they are complete."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TextIO

from posewire.errors import MisuseError, OutputError
from posewire.os_errors import reason_of
from posewire.results import FrameResult

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["AtomicPath", "ResultWriter", "open_for_writing", "output_error", "write_json", "written_whole"]

# Errors of a folder in which no file can be created, though existing ones may be writable.
_NO_NEW_FILES = (errno.EACCES, errno.EPERM, errno.EROFS)
# In bytes; anything longer is not a suffix, but part of a name with a dot in it.
_LONGEST_SUFFIX = 32
_DESCRIPTOR_PATH = re.compile(r"/(?:dev|proc/self)/fd/(\d+)|/dev/(stdin|stdout|stderr)")


class AtomicPath:
    """A temporary file that takes its final name when `commit` is called.

    A `with` block commits if it ends without an exception, and leaves nothing behind otherwise.

    A symbolic link stays, and its target is replaced. A pipe, a device or an open descriptor (/dev/stdout) is not
    replaced: the temporary file is copied into it. The same holds for a file that cannot be replaced, because its
    folder is not writable or because it is itself a mount in a container.

    Args:
        path: the final name; an existing file of that name stays until `commit`.

    Raises:
        OutputError: the folder does not exist or cannot be written to, or the path is a folder.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            self._replaced = _file_to_replace(self.path)
            try:
                self.temporary = self._made_in(None if self._replaced is None else self._replaced.parent)
            except OSError as error:
                if error.errno not in _NO_NEW_FILES or self._replaced is None or not os.access(self._replaced, os.W_OK):
                    raise
                self._replaced, self.temporary = None, self._made_in(None)
        except OSError as error:
            raise output_error(self.path, error) from error

    def commit(self) -> None:
        """Give the file its final name."""
        try:
            if self._replaced is None:
                self._copy()
            else:
                self._replace(self._replaced)
        except OSError as error:
            raise output_error(self.path, error) from error

    def discard(self) -> None:
        """Remove the temporary file."""
        with contextlib.suppress(FileNotFoundError):
            self.temporary.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.discard()

    def _made_in(self, folder: Path | None) -> Path:
        # Libraries infer the format from the suffix, so it is kept. The stem is not: the name could become too long.
        suffix = self.path.suffix if len(os.fsencode(self.path.suffix)) <= _LONGEST_SUFFIX else ""
        if folder is None:
            descriptor, name = tempfile.mkstemp(prefix=".posewire-", suffix=suffix)
        else:  # with the permissions of any new file of this user
            name = os.path.join(folder, f".posewire-{secrets.token_hex(8)}{suffix}")
            descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        os.close(descriptor)
        return Path(name)

    def _replace(self, file: Path) -> None:
        try:
            self.temporary.replace(file)
        except OSError as error:
            if error.errno != errno.EBUSY:  # raised for a file that is a mount
                raise
            self._copy()

    def _copy(self) -> None:
        with self.temporary.open("rb") as content, open_for_writing(self.path) as target:
            shutil.copyfileobj(content, target)
        self.discard()


def open_for_writing(path: Path) -> BinaryIO:
    """Open a file and truncate it; for a path such as /dev/stdout, the open descriptor is duplicated.

    Opening such a path would start at the beginning of a file to which the shell appends.

    Raises:
        OSError: it cannot be opened, or has a writer already: the two would overwrite each other's lines.
    """
    number = _descriptor(path)
    if number is not None:
        return open(os.dup(number), "wb")
    file = open(path, "wb", opener=_uncut)  # noqa: SIM115  # the caller closes it
    try:
        if path.is_file():
            _claim(file)
            file.truncate()
    except OSError:
        file.close()
        raise
    return file


def _uncut(path: str, flags: int) -> int:
    return os.open(path, flags & ~os.O_TRUNC, 0o666)


def _claim(file: BinaryIO) -> None:
    """Lock the file until it is closed; raises `OSError` if another writer has locked it, also one of this process."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(errno.EWOULDBLOCK, "a writer of this program or of another has it open") from None
    except OSError:  # a file system without locks
        pass


def _file_to_replace(path: Path) -> Path | None:
    """The regular file, existing or not, that a path resolves to; None for paths that cannot be replaced.

    Raises:
        OSError: it is a folder, or access is denied.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if _descriptor(path) is not None or (path.exists() and not path.is_file()):
        return None
    return Path(os.path.realpath(path))


def _descriptor(path: Path) -> int | None:
    """The number of the descriptor of this process that a path names; None if it names none."""
    found = _DESCRIPTOR_PATH.fullmatch(str(path))
    if found is None:
        return None
    return int(found[1]) if found[1] else {"stdin": 0, "stdout": 1, "stderr": 2}[found[2]]


class ResultWriter:
    """The base of the writers: open one in a `with` block and `write` each result; the file is complete at its end.

    If the block ends with an exception, no partial file is left behind, unless a writer says otherwise.
    """

    def __init__(self) -> None:
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def write(self, result: FrameResult) -> None:
        """Add one result."""
        raise NotImplementedError

    def close(self) -> None:
        """Finish the file and give it its final name. Safe to call twice.

        Raises:
            OutputError: it cannot be written.
        """
        if not self._closed:
            self._closed = True
            self._finish()

    def discard(self) -> None:
        """Discard the file."""
        if not self._closed:
            self._closed = True
            self._give_up()

    def _finish(self) -> None:
        raise NotImplementedError

    def _give_up(self) -> None:
        raise NotImplementedError

    def _check_open(self) -> None:
        if self._closed:
            raise MisuseError("this writer is closed; make another one")


@contextlib.contextmanager
def written_whole(path: str | Path) -> Iterator[TextIO]:
    """A text file to write, which appears only if the block ends without an exception.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with AtomicPath(path) as target, target.temporary.open("w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise output_error(Path(path), error) from error


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file completely or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with written_whole(path) as file:
        json.dump(content, file, separators=(",", ":"), allow_nan=False)


def output_error(path: Path, error: Exception) -> OutputError:
    """The error for a file that cannot be written, with the reason that the operating system or FFmpeg gives."""
    if isinstance(error, BrokenPipeError):
        return OutputError(f"{path} cannot be written: nobody reads it any more")
    if isinstance(error, BlockingIOError):
        return OutputError(f"{path} cannot be written: {error.strerror}; close that one, or give another name")
    why = reason_of(error)  # without the name of a temporary file
    return OutputError(f"{path} cannot be written: {why}; check the folder, its rights and its space")
