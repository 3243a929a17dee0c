"""How many processor cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["usable_cores"]


def usable_cores(system: Path = Path("/")) -> int:
    """Cores that the process may run on, at most the whole ones of its CPU quota.

    A container with a quota sees all cores of its host. With a thread for each, it would use up its quota at the
    beginning of every period (0.1 s) and then stand still: each network would take several times as long.

    Args:
        system: root of the file system with `proc` and `sys`, for tests.
    """
    quotas = [quota for quota in _quotas(system) if quota > 0]
    return max(1, min([_allowed_cores(), *map(int, quotas)]))


def _allowed_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def _quotas(system: Path) -> list[float]:
    """The CPU quotas, in cores, of the process's control groups and of those that contain them."""
    try:
        lines = (system / "proc/self/cgroup").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    quotas = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:  # version 2
            quotas += [_quota_v2(folder / "cpu.max") for folder in _containing(system / "sys/fs/cgroup", group)]
        elif "cpu" in controllers.split(","):  # version 1
            quotas += [_quota_v1(folder) for folder in _containing(system / "sys/fs/cgroup" / "cpu", group)]
    return quotas


def _containing(root: Path, group: str) -> list[Path]:
    """The folder of a control group and those above it. In a container some are missing: its own group is the root."""
    folder = root / group.lstrip("/")
    return [folder, *folder.parents[: len(folder.parts) - len(root.parts)]]


def _quota_v2(file: Path) -> float:
    """The quota in `cpu.max`, such as `150000 100000`; 0 without one."""
    try:
        quota, period = file.read_text().split()
        return float(quota) / float(period)
    except (OSError, ValueError):  # `max 100000`: no quota
        return 0.0


def _quota_v1(folder: Path) -> float:
    """The quota in `cpu.cfs_quota_us`; 0 without one."""
    try:
        quota_us = float((folder / "cpu.cfs_quota_us").read_text())
        return max(0.0, quota_us) / float((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return 0.0
