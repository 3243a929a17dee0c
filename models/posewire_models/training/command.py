"""Starting a run from a config file: what the command line calls."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from posewire_models.training.checkpoint import start_file
from posewire_models.training.config import ConfigError, build, read_toml, with_flags, with_overrides
from posewire_models.training.detector_task import DetectorTrainConfig, train_detector
from posewire_models.training.flow_task import FlowTrainConfig, train_flow
from posewire_models.training.learning_parts import freeze, parameter_groups
from posewire_models.training.loop import Trained
from posewire_models.training.pose_task import PoseTrainConfig, train_pose
from posewire_models.training.run_folder import check_run_folder

__all__ = ["CONFIGS", "TASKS", "check_parts", "find_config", "run"]

CONFIGS = Path(__file__).parent / "configs"
"""Folder of the configs that come with the package; a name without a folder is also looked up here."""

TASKS: dict[str, tuple[type[Any], Callable[..., Trained]]] = {
    "pose": (PoseTrainConfig, train_pose),
    "detector": (DetectorTrainConfig, train_detector),
    "flow": (FlowTrainConfig, train_flow),
}
"""What can be trained: task -> type of its config, training function."""


def run(
    task: str,
    config: Path,
    *,
    resume: bool = False,
    max_minutes: float = 0.0,
    data_root: Path | None = None,
    out: Path | None = None,
    overrides: Sequence[str] = (),
    **training: Any,
) -> Trained:
    """Train `pose`, `detector` or `flow`.

    Args:
        task: a key of `TASKS`.
        config: TOML file, or the name of one of `CONFIGS`.
        resume: continue from the checkpoint in the run's folder.
        max_minutes: wall time that the whole schedule is fitted to; 0 leaves it as in the config.
        data_root: folder that the config's paths are relative to, in place of the config's.
        out: folder of the run, in place of the config's.
        overrides: settings in place of the config's, `section.key=value`.
        **training: keyword arguments of `train`.

    Raises:
        ConfigError, LabelFileError, WeightsError, OSError: the message says what is wrong and where.
    """
    if task not in TASKS:
        raise ConfigError(f"unknown task {task!r}; known: {', '.join(TASKS)}")
    kind, trains = TASKS[task]
    flags: dict[str, Any] = {"data_root": str(data_root)} if data_root is not None else {}
    loop: dict[str, Any] = {"out": str(out)} if out is not None else {}
    if max_minutes:
        loop["schedule"] = {"max_minutes": max_minutes}
    table = with_flags(with_overrides(read_toml(find_config(config)), overrides), flags | {"loop": loop}, str(config))
    settings = build(kind, table, str(config))
    check_parts(settings)
    check_run_folder(settings.loop.out, resume=resume)
    starts = () if resume else (getattr(settings, name, None) for name in ("init_from", "init_trunk"))
    for weights in filter(None, starts):
        start_file(weights, settings.data_root)
    logging.getLogger("posewire_models.training").info("training %s as %s says", task, config)
    return trains(settings, resume=resume, **training)


def check_parts(settings: Any) -> None:
    """Check that the network of these settings has the parts that they freeze or train at another rate.

    Raises:
        ConfigError: it has not.
    """
    with torch.device("meta"):  # names only, no weights
        network = settings.build_network()
    parameter_groups(network, settings.loop.lr_factors)
    freeze(network, settings.loop.frozen)


def find_config(config: Path) -> Path:
    """`config` itself, or the packaged config of that name.

    Raises:
        ConfigError: there is neither.
    """
    if config.exists():
        return config
    packaged = CONFIGS / config.with_suffix(".toml").name
    if config.parent == Path() and packaged.exists():
        return packaged
    names = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.toml")))
    raise ConfigError(f"config {config} does not exist; the packaged ones are {names}")
