"""Reading JSON files from other programs: all readers accept and reject the same files."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

__all__ = ["fault_of_text", "path_in_file", "read_json"]

_ARCHIVES = {b"\x1f\x8b": "compressed with gzip", b"PK\x03\x04": "a zip archive"}
"""By their first bytes."""


def read_json(path: Path) -> Any:
    """The contents of a JSON file: UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON, or its lists and objects are nested too deeply.
    """
    try:
        return json.loads(path.read_bytes())
    except UnicodeDecodeError as error:
        raise ValueError(fault_of_text(error)) from error
    except RecursionError as error:
        raise ValueError("its lists and objects are nested too deeply") from error


def fault_of_text(error: UnicodeDecodeError) -> str:
    """Why bytes are no text, and what to do."""
    for start, kind in _ARCHIVES.items():
        if error.object.startswith(start):
            return f"it is {kind}; unpack it first"
    return f"it is not text in UTF-8: {error}"


def path_in_file(name: str) -> PurePosixPath:
    """The path of a picture as a file names it; programs on Windows write backslashes."""
    return PurePosixPath(PureWindowsPath(name).as_posix())
