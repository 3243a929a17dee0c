"""Run every query of the dashboard in Prometheus, and fail if one has no answer.

    python docker/dashboard_queries.py --prometheus http://127.0.0.1:9090 [--without device_memory]

Needs the standard library only.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Query", "answer", "dashboard_queries"]

DASHBOARD = Path(__file__).parent / "grafana" / "dashboards" / "posewire.json"
# Values of Grafana's variables: all servers, and at least four scrape intervals.
_VARIABLES = {"$instance": ".+", "$__rate_interval": "1m"}


@dataclass(frozen=True)
class Query:
    """One line of a panel.

    Attributes:
        panel: its title.
        expression: PromQL, with Grafana's variables filled in.
    """

    panel: str
    expression: str


def dashboard_queries() -> Iterator[Query]:
    """All queries of the dashboard, in its order."""
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for variable, value in _VARIABLES.items():
                expression = expression.replace(variable, value)
            yield Query(panel["title"], expression)


def answer(prometheus: str, expression: str) -> list[float]:
    """The current values of an expression; some may be NaN.

    Raises:
        OSError: Prometheus cannot be reached, or rejects the query.
    """
    address = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    with urllib.request.urlopen(address, timeout=10) as response:
        result: dict[str, Any] = json.load(response)
    return [float(series["value"][1]) for series in result["data"]["result"]]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="Ask Prometheus every query of the dashboard.")
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument("--without", default=[], nargs="*", metavar="TEXT", help="Queries with it need no answer here.")
    arguments = parser.parse_args()
    silent = 0
    for query in dashboard_queries():
        values = answer(arguments.prometheus, query.expression)
        numbers = [value for value in values if value == value]  # NaN, a rate of nothing, is no answer
        excused = not numbers and any(text in query.expression for text in arguments.without)
        silent += not numbers and not excused
        state = f"{len(numbers):3d} series, e.g. {numbers[0]:.4g}" if numbers else "not here" if excused else "NO DATA"
        print(f"{query.panel:46.46} {state:28} {query.expression if state == 'NO DATA' else ''}".rstrip())
    if silent:
        sys.exit(f"{silent} queries have no data")


if __name__ == "__main__":
    main()
