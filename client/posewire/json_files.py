"""JSON files that others wrote: all readers take and refuse the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["read_json"]


def read_json(path: Path) -> Any:
    """What a JSON file holds: UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON, or too deep a nest of lists and objects.
    """
    try:
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError("its lists and objects lie too deep in each other") from error
