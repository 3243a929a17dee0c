"""`python -m posewire_models.training pose --config nano-pose`: the same program as `posewire train`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from posewire_models.training.command import CONFIGS, TASKS, run
from posewire_models.training.failures import expected_failures
from posewire_models.training.signals import StopSignals

__all__ = ["app"]


def app(args: Sequence[str] | None = None, prog_name: str = "python -m posewire_models.training") -> None:
    """Parse the arguments, train, and report faulty input as one line on stderr and an exit status."""
    names = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.toml")))
    parser = argparse.ArgumentParser(prog=prog_name, description="Train a pose, detector or flow network.")
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("--config", type=_path, required=True, help=f"TOML file, or one of {names}")
    parser.add_argument("--resume", action="store_true", help="resume from the checkpoint in the run's folder")
    parser.add_argument(
        "--max-minutes",
        type=float,
        default=0.0,
        help="fit the whole schedule into this wall time (default: the schedule's own length)",
    )
    parser.add_argument("--data-root", type=_path, help="folder that the config's paths are relative to")
    parser.add_argument("--out", type=_path, help="folder of the run (default: the config's loop.out)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of the config, written as in TOML; repeatable",
    )
    arguments = parser.parse_args(args)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    with expected_failures(), StopSignals() as stop:
        run(
            arguments.task,
            arguments.config,
            resume=arguments.resume,
            max_minutes=arguments.max_minutes,
            data_root=arguments.data_root,
            out=arguments.out,
            overrides=arguments.set,
            stop=stop,
        )
    if stop.received:
        print("posewire: the run was stopped; the same command with --resume goes on", file=sys.stderr)
        sys.exit(128 + stop.received)


def _path(text: str) -> Path:
    if not text:  # Python would take it for the folder "."
        raise argparse.ArgumentTypeError("it is empty; is a variable not set?")
    return Path(text)


if __name__ == "__main__":
    app()
