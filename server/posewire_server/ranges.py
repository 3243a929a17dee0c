"""The range check for settings."""

from __future__ import annotations

__all__ = ["check_range"]


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise a `ValueError` that names the setting, its value and the range, unless `value` is in `low`..`high`."""
    if not low <= value <= high:  # nor is NaN
        raise ValueError(f"{name} is {value}; it must lie in {low}..{high}")
