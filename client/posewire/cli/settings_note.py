"""A note about what the predictions in a folder were made with, which is compared before others are added."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from posewire import ServerInfo, TrackerSettings
from posewire.cli.failures import CommandError, UsageError
from posewire.cli.private_server import ServerChoice
from posewire.errors import ConnectionFailed, TimedOut
from posewire.json_files import read_json
from posewire.os_errors import reason_of
from posewire.output_files import write_json
from posewire.settings import Codec
from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.posetrack_files import read_posetrack
from posewire_evaluation.sequence_files import sequence_files
from posewire_models.manifest import BundleError, find_bundle, read_manifest
from posewire_models.specs import spec_name

__all__ = ["SettingsNote"]

_FILE = ".posewire-run.json"
_ANSWER_S = 10.0


@dataclass(frozen=True)
class SettingsNote:
    """The note in one folder of predictions.

    Attributes:
        folder: of the predictions.
        server: makes them.
        tracker: the requested settings.
        frames: the codec in which frames are sent to the server.
    """

    folder: Path
    server: ServerChoice
    tracker: TrackerSettings
    frames: Codec

    def keep(self, info: ServerInfo, *, overwrite: Collection[Path] | None = None) -> None:
        """Write the note, after checking that predictions that stay in the folder were made with the same settings.

        Args:
            info: of the server that makes them.
            overwrite: predictions to make again; None: none. If they were made with other settings, they are deleted at
                once, since the run may end before all of them are replaced.

        Raises:
            UsageError: some were made with other or unknown settings, and would not be overwritten.
            CommandError: the note cannot be read.
        """
        settings = self._settings(info)
        before = self._read()
        if overwrite is None and before is not None:
            self._refuse_others(before, settings)
            return
        if before != settings:
            self._refuse_to_leave(overwrite, noted=before is not None)
            for prediction in overwrite or ():
                prediction.unlink(missing_ok=True)
        write_json(self.folder / _FILE, settings)

    def compare(self) -> None:
        """Check that the existing predictions, which are complete, were made with the settings requested now.

        No server is started for that: without a running one, only the flags are compared.

        Raises:
            UsageError: they were made with other settings.
            CommandError: the note cannot be read.
        """
        before = self._read()
        if before is None:
            return
        info = None if self.server.address is None else asyncio.run(_ask(self.server))
        if info is not None:
            self._refuse_others(before, self._settings(info))
        elif differences := _differences(before, self._settings_by_flags()):
            raise UsageError(self._made_otherwise(differences))

    def _settings(self, info: ServerInfo) -> dict[str, Any]:
        """The settings with which this server makes predictions."""
        tracker = asdict(info.tracker_defaults) | self._flags()
        return {"models": asdict(info.models), "tracker": tracker, "frames": self.frames}

    def _settings_by_flags(self) -> dict[str, Any]:
        """The part of the settings that follows from the flags alone.

        Raises:
            UsageError: there is no such bundle.
        """
        models: dict[str, Any] = {}
        if self.server.bundle is not None:
            try:
                manifest = read_manifest(find_bundle(self.server.bundle))
            except BundleError as error:
                raise UsageError(str(error)) from error
            models = {"bundle": manifest.name, "bundle_version": manifest.version}
        for stage, specification in (("detector", self.server.detector), ("flow", self.server.flow)):
            if specification not in (None, "auto", "bundle"):  # those depend on the bundle
                models[stage] = spec_name(specification)  # as servers do
        if self.server.flip_test is not None:
            models["flip_test"] = self.server.flip_test
        return {"models": models, "tracker": self._flags(), "frames": self.frames}

    def _flags(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self.tracker).items() if value is not None}

    def _read(self) -> dict[str, Any] | None:
        path = self.folder / _FILE
        try:
            content = read_json(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CommandError(f"{path} cannot be read: {reason_of(error)}; give another --out") from error
        return content if isinstance(content, dict) else {}

    def _refuse_to_leave(self, overwrite: Collection[Path] | None, *, noted: bool) -> None:
        """Raise `UsageError` if a prediction made with other settings would stay beside new ones."""
        staying = (file for file in sequence_files(self.folder) if file not in (overwrite or ()))
        prediction = next(filter(_is_prediction, staying), None)
        if prediction is None:
            return
        if overwrite is None:
            raise UsageError(
                f"{self.folder} has predictions, as {prediction.name}, and no {_FILE} that says what they were made"
                " with; give another --out, or --overwrite to make all of them anew"
            )
        how = "was made otherwise" if noted else f"was made before, and no {_FILE} says with what"
        raise UsageError(
            f"{prediction} {how}, and would stay: its sequence is not among those that are made anew; move it away, or"
            " give another --out"
        )

    def _refuse_others(self, before: dict[str, Any], settings: dict[str, Any]) -> None:
        """Raise `UsageError` unless both are the same."""
        if before != settings:
            raise UsageError(self._made_otherwise(_differences(before, settings)))

    def _made_otherwise(self, differences: Sequence[str]) -> str:
        """The message with what differs, and what to do about it."""
        what = ", ".join(differences) or "by another version"
        return (
            f"{self.folder} has predictions that were made otherwise ({what});"
            " give another --out, or --overwrite to make all of them anew"
        )


async def _ask(server: ServerChoice) -> ServerInfo | None:
    """The description of a running server; None if it cannot be reached, since it has nothing to track."""
    with server.running(quiet=True) as access:
        async with access.async_client(timeout_s=_ANSWER_S) as client:
            try:
                return await client.server_info()
            except (ConnectionFailed, TimedOut):
                return None


def _is_prediction(file: Path) -> bool:
    try:
        read_posetrack(file, predictions=True)
    except EvaluationError:
        return False
    return True


def _differences(before: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """The differences between settings that are in both."""
    was, now = _flat(before), _flat(settings)
    return sorted(
        f"{name} {was[name]!r} there, {now[name]!r} now" for name in was.keys() & now.keys() if was[name] != now[name]
    )


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """All values by name; names of models and of tracker settings are distinct."""
    flat: dict[str, Any] = {}
    for part, values in settings.items():
        flat |= values if isinstance(values, dict) else {part: values}
    return flat
