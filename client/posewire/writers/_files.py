"""Result files appear under their name when they are whole, and not before."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from posewire.errors import MisuseError, OutputError
from posewire.results import FrameResult

__all__ = ["AtomicPath", "ResultWriter", "write_json"]


class AtomicPath:
    """A temporary file beside the wanted one, which takes its name when `commit` is called.

    Args:
        path: where the file shall be; an older one of that name stays until then.

    Raises:
        OutputError: the folder does not exist or cannot be written to.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            # The suffix stays: libraries tell the format by it.
            descriptor, name = tempfile.mkstemp(
                dir=self.path.parent, prefix=f".{self.path.stem}.", suffix=self.path.suffix
            )
        except OSError as error:
            raise output_error(self.path, error) from error
        os.close(descriptor)
        self.temporary = Path(name)

    def commit(self) -> None:
        """Give the file its name, with the rights that any new file of this user has."""
        umask = os.umask(0)
        os.umask(umask)
        try:
            self.temporary.chmod(0o666 & ~umask)
            self.temporary.replace(self.path)
        except OSError as error:
            raise output_error(self.path, error) from error

    def discard(self) -> None:
        """Remove the temporary file."""
        with contextlib.suppress(FileNotFoundError):
            self.temporary.unlink()


class ResultWriter:
    """What the writers have in common: `with` a writer, `write` each result, and the file is there at the end.

    Leaving the block by an exception leaves no half file behind, except where a writer says otherwise.
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
        """Finish the file and give it its name. Safe to call twice.

        Raises:
            OutputError: it cannot be written.
        """
        if not self._closed:
            self._closed = True
            self._finish()

    def discard(self) -> None:
        """Give the file up."""
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


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    target = AtomicPath(path)
    try:
        with target.temporary.open("w", encoding="utf-8") as file:
            json.dump(content, file, separators=(",", ":"), allow_nan=False)
        target.commit()
    except OSError as error:
        raise output_error(target.path, error) from error
    finally:
        target.discard()


def output_error(path: Path, error: OSError) -> OutputError:
    """The error for a file that cannot be written."""
    return OutputError(
        f"{path} cannot be written: {error.strerror or error}; check the folder, its rights and its space"
    )
