"""Reading JSON files from other programs: all readers accept and reject the same files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["read_json"]


def read_json(path: Path) -> Any:
    """The contents of a JSON file: UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON, or its lists and objects are nested too deeply.
    """
    try:
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError("its lists and objects are nested too deeply") from error
