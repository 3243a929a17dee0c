"""The store of converted weights: a folder in the user's cache, `~/.cache/posewire` by default.

Each file of weights has its digest in its name, and is valid only once a record names it:

    weights/NAME-0123456789abcdef.safetensors
    weights/NAME.json                            the record, replaced atomically
    downloads/                                   unfinished downloads

Readers see either the old record or the new one, never a part, and an interrupted writer leaves no record. The folder
is `$POSEWIRE_CACHE`, else `$XDG_CACHE_HOME/posewire`, else `~/.cache/posewire`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from posewire.json_files import read_json
from posewire.os_errors import reason_of
from posewire_models.published.errors import StoreError
from posewire_models.typed_json import from_json
from posewire_models.whole_files import commit, file_digest, is_plain_name, remove_unfinished, replacing, temporary_file

__all__ = ["Store", "StoredFile", "default_folder"]


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """The record of converted weights.

    Attributes:
        name: of the published file.
        file: name of the weights in the store's folder `weights`.
        sha256: digest of the weights, hexadecimal.
        bytes: their size.
        source: the address or file name that they come from.
        source_sha256: digest of the file that they were converted from.
    """

    name: str
    file: str
    sha256: str
    bytes: int
    source: str
    source_sha256: str

    def __post_init__(self) -> None:
        if not is_plain_name(self.file) or not self.file.endswith(".safetensors"):
            raise ValueError(f"file {self.file!r:.100} must be a plain name that ends in .safetensors")
        if not re.fullmatch("[0-9a-fA-F]{64}", self.sha256):
            raise ValueError(f"sha256 {self.sha256!r:.100} must be 64 hexadecimal digits")


def default_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Folder of the user's store; raises `StoreError` if it would be in the home folder and the user has none."""
    try:
        if chosen := environment.get("POSEWIRE_CACHE"):
            return Path(chosen).expanduser()
        base = environment.get("XDG_CACHE_HOME", "")
        # The XDG specification says to ignore relative paths.
        return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "posewire"
    except RuntimeError:
        raise StoreError(
            "there is no home folder in which weights could be kept; set POSEWIRE_CACHE to a folder of yours"
        ) from None


class Store:
    """Converted weights, by the name of the published file.

    Args:
        folder: created when something is added; None takes `default_folder()` as soon as it is needed: `nano`, whose
            weights are part of the package, also runs for a user who has no home folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    @cached_property
    def folder(self) -> Path:
        """Of all files; raises `StoreError` as `default_folder`."""
        return self._folder or default_folder()

    @property
    def weights(self) -> Path:
        """Of the converted weights and their records."""
        return self.folder / "weights"

    @property
    def downloads(self) -> Path:
        """Of the files that are on their way."""
        return self.folder / "downloads"

    def find(self, name: str) -> StoredFile | None:
        """The record of `name`, if its weights are here; their content is not checked.

        Raises:
            StoreError: the record is damaged, or cannot be read.
        """
        record = self.record(name)
        return record if record and self.path(record).is_file() else None

    def record(self, name: str) -> StoredFile | None:
        """The record of `name`, if there is one, whether its weights are still here or not; raises as `find`."""
        path = self._record_path(name)
        try:
            return from_json(StoredFile, read_json(path), "record")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {reason_of(error)}") from None
        except ValueError as error:
            raise StoreError(f"{path} is damaged ({error}); delete it and fetch the weights again") from None

    def path(self, record: StoredFile) -> Path:
        """Path of the weights of `record`."""
        return self.weights / record.file

    def add(self, name: str, write: Callable[[Path], None], *, source: str, source_sha256: str) -> StoredFile:
        """Store weights under `name` atomically, replacing earlier ones; the caller must hold `locked` for the name.

        Args:
            name: of the published file.
            write: writes the weights to the path that it is given.
            source: address or file name that they come from.
            source_sha256: digest of that file.

        Raises:
            StoreError: the folder cannot be written, or the disk is full.
        """
        try:
            self.weights.mkdir(parents=True, exist_ok=True)
            remove_unfinished(self.weights, name)
            with temporary_file(self.weights, name) as temporary:
                write(temporary)
                digest = file_digest(temporary)
                file = f"{name}-{digest[:16]}.safetensors"
                record = StoredFile(
                    name=name,
                    file=file,
                    sha256=digest,
                    bytes=temporary.stat().st_size,
                    source=source,
                    source_sha256=source_sha256,
                )
                commit(temporary, self.weights / file)
            with replacing(self._record_path(name)) as temporary:
                temporary.write_text(json.dumps(dataclasses.asdict(record), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise StoreError(
                f"cannot write to {self.weights}: {reason_of(error)}; make room there, or set POSEWIRE_CACHE to "
                "another folder"
            ) from error
        for old in self.weights.glob(f"{name}-{'[0-9a-f]' * 16}.safetensors"):
            if old.name != file:
                old.unlink(missing_ok=True)
        return record

    def fault(self, record: StoredFile) -> str:
        """What is wrong with the weights of `record`, which are read completely; empty if nothing is."""
        path = self.path(record)
        try:
            found = file_digest(path)
        except OSError as error:
            return f"cannot be read: {reason_of(error)}"
        return "" if found == record.sha256.lower() else f"SHA-256 is {found[:16]}..., not {record.sha256[:16]}..."

    @contextlib.contextmanager
    def locked(self, name: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold an exclusive lock on fetching `name` among all processes of this machine; it ends with the process.

        Args:
            name: of the published file.
            waiting: called before waiting for another process that holds it.
        """
        try:
            self.downloads.mkdir(parents=True, exist_ok=True)
            lock = (self.downloads / f"{name}.lock").open("w")
        except OSError as error:
            raise StoreError(
                f"cannot write to {self.downloads}: {reason_of(error)}; set POSEWIRE_CACHE to another folder"
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _record_path(self, name: str) -> Path:
        return self.weights / f"{name}.json"
