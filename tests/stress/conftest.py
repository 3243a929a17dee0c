from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.processes.server_process import ServerProcess, serving

# All tests come from one host, which opens many more streams, and makes many more calls that fail, than one should.
_FLAGS = (
    *("--log-level", "error", "--max-streams", "200"),
    *("--max-openings-per-s", "1000", "--max-queries-per-s", "10000"),
)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for whoever does not kill it."""
    with serving(tmp_path_factory.mktemp("server"), *_FLAGS) as process:
        yield process
