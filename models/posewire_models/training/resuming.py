"""Resuming a run: settings stored in its checkpoint against those of now."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from posewire_models.training.loop_config import LoopConfig

__all__ = ["continued", "restore_optimiser", "settings_of"]

_log = logging.getLogger(__name__)


def settings_of(config: LoopConfig) -> dict[str, float]:
    """The settings that a checkpoint stores: with other values, a resumed run is not the same run."""
    names = ("max_minutes", "epochs", "samples", "batch_size")
    return {"seed": config.seed} | {f"schedule.{name}": getattr(config.schedule, name) for name in names}


def continued(config: LoopConfig, before: Mapping[str, float]) -> LoopConfig:
    """`config` for the rest of a run that had the settings `before`.

    A run that was fitted to a wall time stays so. Other differences are reported in the log.
    """
    minutes = before["schedule.max_minutes"]
    if minutes and not config.schedule.max_minutes:
        _log.info("the run is fitted to %g minutes, as when it began", minutes)
        config = dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, max_minutes=minutes))
    for name, now in settings_of(config).items():
        if before[name] != now:
            _log.warning(
                "loop.%s was %s and is %s now: the run goes on, but not as it would have", name, before[name], now
            )
    return config


def restore_optimiser(optimiser: Optimizer, state: dict[str, Any]) -> None:
    """Load the moments in `state`; weight decay and learning rate factors stay as configured now.

    Raises:
        ValueError: the parameters were grouped differently, so that moments would go to other parameters.
    """
    groups, before = optimiser.param_groups, state["param_groups"]
    if [group["names"] for group in groups] != [group["names"] for group in before]:
        raise ValueError(
            "loop.lr_factors divides the network into other groups than when the run began "
            f"(its factors: {', '.join(str(group['factor']) for group in before)}); with --resume "
            "only the factors' values may change, and not which of them are equal"
        )
    settings = [{key: group[key] for key in ("factor", "names", "weight_decay")} for group in groups]
    optimiser.load_state_dict(state)
    for group, own in zip(optimiser.param_groups, settings, strict=True):
        group.update(own)
