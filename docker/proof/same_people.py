"""Compare two results of the same video: did people keep their ids although the second run was disturbed?

    python docker/proof/same_people.py UNDISTURBED.jsonl DISTURBED.jsonl

The exit status is 0 if the second run assigned no more ids than the first. Needs the standard library only.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """See the module."""
    first, second = (_frames(Path(name)) for name in sys.argv[1:])
    ids = [{person["id"] for frame in frames for person in frame["people"]} for frames in (first, second)]
    print(f"  frames: {len(first)} undisturbed, {len(second)} disturbed")
    print(f"  ids: {sorted(ids[0])} undisturbed, {sorted(ids[1])} disturbed")
    if not ids[1] or len(ids[1]) > len(ids[0]):
        sys.exit("identities were lost")


def _frames(file: Path) -> list[dict[str, Any]]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[1:]]  # the first is a header


if __name__ == "__main__":
    main()
