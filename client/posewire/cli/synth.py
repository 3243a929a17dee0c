"""`posewire synth`: synthetic scenes as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from posewire.cli.failures import CommandError, UsageError, say
from posewire.cli.progress import bar
from posewire.output_files import output_error
from posewire.synth import Scene, SceneConfig
from posewire.synth.export import FramesAs, write_scene

__all__ = ["run_synth", "scene_config"]


def scene_config(preset: str, changes: dict[str, Any]) -> SceneConfig:
    """A preset with the given changes; None changes nothing.

    Raises:
        UsageError: unknown preset, or a setting out of range.
    """
    try:
        return SceneConfig.preset(preset, **{name: value for name, value in changes.items() if value is not None})
    except ValueError as error:
        raise UsageError(str(error)) from error


def run_synth(out_dir: Path, config: SceneConfig, *, frames_as: FramesAs, flow: bool, quiet: bool) -> None:
    """Write a scene.

    Raises:
        CommandError: the folder is a file.
        OutputError: the folder cannot be created, or a file cannot be written.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise CommandError(f"{out_dir} is a file; name a folder, which is made where it does not exist")
    try:
        with bar("drawing", config.frames, quiet=quiet) as progress:
            files = write_scene(Scene(config), out_dir, frames_as=frames_as, flow=flow, progress=progress.show)
    except OSError as error:
        raise output_error(out_dir, error) from error
    if not quiet:
        for path in (files.frames, files.annotations, files.flow, files.manifest):
            if path is not None:
                say(f"wrote {path}")
