from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from posewire.usable_cores import usable_cores

CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize(
    ("group", "files", "cores"),
    [
        ("0::/", {"cpu.max": "400000 100000"}, 4),
        ("0::/", {"cpu.max": "199000 100000"}, 1),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "max 100000"}, 64),
        ("0::/pod/posewire", {"pod/posewire/cpu.max": "max 100000", "pod/cpu.max": "300000 100000"}, 3),
        ("0::/host/path/of/the/container", {"cpu.max": "200000 100000"}, 2),
        ("4:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "600000", "cpu/cpu.cfs_period_us": "200000"}, 3),
        ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ("3:cpuset:/", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ("5:memory:/\n4:cpu:/a", {"cpu/a/cpu.cfs_quota_us": "500000", "cpu/a/cpu.cfs_period_us": "100000"}, 5),
        ("0::/caf\udce9", {"caf\udce9/cpu.max": "200000 100000"}, 2),  # not UTF-8
        ("0::/", {"cpu.max": ""}, 64),
        ("", {}, 64),
    ],
)
def test_cores_are_bounded_by_the_quotas_of_all_groups(
    group: str, files: dict[str, str], cores: int, tmp_path: Path
) -> None:
    for name, text in {"proc/self/cgroup": group, **{f"sys/fs/cgroup/{name}": files[name] for name in files}}.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, errors="surrogateescape")
    assert usable_cores(tmp_path) == cores


def test_a_machine_without_control_groups(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == CORES


def test_a_process_bound_to_one_core() -> None:
    program = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    program += "from posewire.usable_cores import usable_cores; print(usable_cores())"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout == "1\n"
