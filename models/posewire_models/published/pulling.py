"""Fetching published weights into the store, and converting files that the user already has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from torch import Tensor

from posewire_models.published.catalogue import PublishedFile, published_file
from posewire_models.published.converters import convert_state, recognise
from posewire_models.published.download import FetchSettings, Progress, discard, fetch
from posewire_models.published.errors import DownloadError, UnknownCheckpointError, UnreadableError
from posewire_models.published.reader import read_tensors
from posewire_models.published.store import Store, StoredFile
from posewire_models.weights import write_state
from posewire_models.whole_files import file_digest, replacing

__all__ = ["convert_file", "convert_to", "mirrored", "pull"]

# Limit of a file's size, relative to its weights: it may also hold the state of an optimizer. A larger file is wrong.
_MOST_TIMES_LARGER = 4


def pull(
    file: PublishedFile,
    store: Store,
    *,
    progress: Progress = lambda done, total: None,
    waiting: Callable[[], None] = lambda: None,
    mirror: str = "",
    settings: FetchSettings | None = None,
) -> StoredFile:
    """Fetch, check, convert and store a published file; does nothing if it is in the store.

    Args:
        file: what to fetch.
        store: where to keep it.
        progress: called with the bytes received so far.
        waiting: called if another process is fetching it now; its result is then used.
        mirror: fetch `MIRROR/HOST/PATH` in place of `https://HOST/PATH`.
        settings: of the download.

    Raises:
        DownloadError: it cannot be fetched; the message says how to get it by hand.
        PublishedError: it cannot be read, converted or stored.
    """
    if (record := store.find(file.name)) is not None:
        return record
    with store.locked(file.name, waiting):
        if (record := store.find(file.name)) is not None:  # another process has just put it there
            return record
        if not file.address:
            raise DownloadError(f"{file.name} cannot be fetched by a program. {_by_hand(file)}")
        address = mirrored(file.address, mirror)
        path = store.downloads / file.file
        try:
            digest = fetch(
                address,
                path,
                sha256_prefix=file.sha256_prefix,
                max_bytes=_MOST_TIMES_LARGER * file.megabytes * 1_000_000,
                progress=progress,
                settings=settings or FetchSettings(),
            )
        except DownloadError as error:
            raise DownloadError(f"{error}. {_by_hand(file)}") from None
        try:
            state = convert_state(read_tensors(path, address), file, address)
        except (UnreadableError, UnknownCheckpointError) as error:
            discard(path)  # otherwise the next pull would resume it
            raise type(error)(f"{error}; nothing of it was kept. {_by_hand(file)}") from None
        record = _keep(state, file, store, address, digest)
        discard(path)
        return record


def convert_file(path: Path, store: Store, name: str | None = None) -> StoredFile:
    """Convert a local file, and store it as if it had been pulled.

    Args:
        path: the file as published.
        store: where to keep the result.
        name: of the published file that it is; None: determined by the file's name and tensors.

    Raises:
        PublishedError: unknown, unreadable, or not the file that it should be.
    """
    state = read_tensors(path)
    file = recognise(path, state) if name is None else published_file(name)
    digest = file_digest(path)
    if not digest.startswith(file.sha256_prefix):
        raise UnknownCheckpointError(
            f"{path} is not {file.name} as it was published: its SHA-256 begins with {digest[:16]}, not with "
            f"{file.sha256_prefix}; fetch it again, or write it elsewhere with --out if you changed it"
        )
    with store.locked(file.name):
        return _keep(convert_state(state, file, str(path)), file, store, path.name, digest)


def convert_to(path: Path, out: Path, name: str | None = None) -> PublishedFile:
    """Convert a local file to `out` (safetensors), even if it only has the layout of a published one.

    Args:
        path: a checkpoint.
        out: written completely or not at all.
        name: of the published file whose layout and network it has; None: determined by the file's name and tensors.

    Returns:
        That published file.

    Raises:
        PublishedError: unknown or unreadable.
        OSError: `out` cannot be written.
    """
    state = read_tensors(path)
    file = recognise(path, state) if name is None else published_file(name)
    with replacing(out) as temporary:
        write_state(convert_state(state, file, str(path)), temporary, {"licence": file.licence})
    return file


def mirrored(address: str, mirror: str) -> str:
    """`address` at a mirror, which has the files of each host in a folder with the host's name."""
    if not mirror:
        return address
    parts = urlsplit(address)
    return f"{mirror.rstrip('/')}/{parts.netloc}{parts.path}"


def _keep(
    state: Mapping[str, Tensor], file: PublishedFile, store: Store, source: str, source_digest: str
) -> StoredFile:
    def write(path: Path) -> None:
        write_state(state, path, {"name": file.name, "source": source, "licence": file.licence})

    return store.add(file.name, write, source=source, source_sha256=source_digest)


def _by_hand(file: PublishedFile) -> str:
    return f"By hand: get {file.file} ({file.address or file.by_hand}), then `posewire models convert {file.file}`"
