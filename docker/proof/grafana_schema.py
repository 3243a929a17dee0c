"""Read the dashboard with Grafana's own types (grafana-foundation-sdk), write it again, and compare the two.

Fields that Grafana does not know are lost, and values of the wrong type are changed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DASHBOARD = Path(__file__).parents[1] / "grafana" / "dashboards" / "posewire.json"


def main() -> None:
    """See the module."""
    from grafana_foundation_sdk.cog import plugins
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    plugins.register_default_plugins()  # the types of panels and data sources
    written = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(written)))
    lost = list(_differences(written, read, ""))
    print("\n".join(lost) if lost else f"  {len(written['panels'])} panels: Grafana's types know every field")
    sys.exit(bool(lost))


def _differences(written: Any, read: Any, where: str) -> Iterator[str]:
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            if key in read:
                yield from _differences(value, read[key], f"{where}/{key}")
            elif value is not None:
                yield f"  lost: {where}/{key}"
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for index, (one, other) in enumerate(zip(written, read, strict=True)):
            yield from _differences(one, other, f"{where}/{index}")
    elif written != read:
        yield f"  {where}: {written!r} became {read!r}"


if __name__ == "__main__":
    main()
