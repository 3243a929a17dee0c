"""Writing streams to disk. A failure here ends the recording, and affects nothing else."""

from __future__ import annotations

import errno
import fcntl
import itertools
import logging
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO

from posewire.os_errors import reason_of
from posewire.v1 import track_pb2
from posewire_server.observability.logs import facts
from posewire_server.recording.file_format import FINISHED, MAGIC, UNFINISHED, Kind, pack, pack_json

__all__ = ["Piece", "Recorder", "RecordingFile"]

log = logging.getLogger(__name__)

# Data of all streams that may wait for the disk. Beyond that a recording would have gaps, so it ends.
_MOST_WAITING_BYTES = 64 * 2**20
_SMALL_MESSAGE_BYTES = 1024
# Share of the maximum size for files that are being written; earlier recordings have the rest.
_BEING_WRITTEN = 1 / 4
# Whenever this share of the maximum size has been written, the folder is scanned for what other servers have written,
# and for old recordings, of which there may be many thousands. Then as much space is freed.
_WRITTEN_BETWEEN_LOOKS = 1 / 32
# How long unfinished writing may take when the server stops.
_LAST_WRITING_S = 10.0


class Recorder:
    """Records streams into a folder, one file each, on a thread of its own.

    Args:
        folder: created if missing, accessible to its owner only, since the files hold pictures of people.
        max_bytes: of all recordings in the folder, including those of other servers. The oldest are deleted for new
            ones.

    Attributes:
        streams: number of streams being recorded.

    Raises:
        ValueError: there is a file in place of the folder.
        OSError: the folder cannot be created.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise ValueError(f"recordings need a folder, and {folder} is a file or lies in one; name another") from None
        self._folder = folder
        self._max_bytes = max_bytes
        self.streams = 0
        self._work: SimpleQueue[Piece | None] = SimpleQueue()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._numbers = itertools.count()  # a stream may begin several files in a second
        self._writing: dict[Path, RecordingFile] = {}
        self._total_bytes = sum(size for _, size, _ in self._recordings())
        self._look_again_at_bytes = 0
        self._thread = threading.Thread(target=self._serve, name="posewire-recorder", daemon=True)
        self._thread.start()

    @property
    def share_bytes(self) -> int:
        """How large the file of a stream may currently become before the recording continues in a new one."""
        return int(_BEING_WRITTEN * self._max_bytes / max(1, self.streams))

    def file(self, stream_id: str) -> RecordingFile:
        """A file for a stream; it is created when something is put into it."""
        now = datetime.now(UTC)
        name = f"{now:%Y%m%d-%H%M%S}-{stream_id}-{next(self._numbers):04}{UNFINISHED}"
        return RecordingFile(self._folder / name, stream_id, now.isoformat(timespec="seconds"), time.monotonic())

    def close(self) -> None:
        """Finish writing, and end the thread."""
        self._work.put(None)
        self._thread.join(_LAST_WRITING_S)

    def put(self, piece: Piece) -> bool:
        """Queue a piece to be written; False if too much is waiting for the disk."""
        with self._lock:
            if self._waiting_bytes + piece.bytes_about > _MOST_WAITING_BYTES:
                return False
            self._waiting_bytes += piece.bytes_about
        self._work.put(piece)
        return True

    def _serve(self) -> None:
        """Runs on the thread."""
        while (piece := self._work.get()) is not None:
            try:
                self._write(piece)
            except OSError as error:
                self._give_up(piece.file, error)
            except Exception as error:
                log.exception("the recorder failed")
                self._give_up(piece.file, error)
            with self._lock:
                self._waiting_bytes -= piece.bytes_about
            del piece  # a waiting thread must not keep the last frame alive
        for file in list(self._writing.values()):
            self._end(file, time.monotonic() - file.start_s, "the server stopped")

    def _end(self, file: RecordingFile, time_s: float, reason: str) -> None:
        try:
            self._finish(file, time_s, reason)
        except OSError as error:
            self._give_up(file, error)

    def _write(self, piece: Piece) -> None:
        file = piece.file
        if file.ended:
            return
        if file.output is None:
            self._open(file)
        if piece.end is not None:
            self._finish(file, piece.time_s, piece.end)
            return
        assert piece.message is not None
        payload = piece.message.SerializeToString()
        kind = Kind.REQUEST if isinstance(piece.message, track_pb2.TrackRequest) else Kind.RESPONSE
        data = pack(kind, piece.time_s, payload)
        if not self._make_room(len(data)):
            self._finish(file, piece.time_s, "the recordings have reached --record-max-mb")
            log.warning("a recording ends: there is no space for it", extra=facts(file=str(file.path)))
            return
        self._append(file, data)

    def _open(self, file: RecordingFile) -> None:
        # Unbuffered: what was written survives if the server is killed.
        descriptor = os.open(file.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        file.output = open(descriptor, "wb", buffering=0)  # noqa: SIM115  closed by `_finish`
        with suppress(OSError):  # some network file systems have no locks: there no file counts as abandoned
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # until it is closed, at the latest when the process ends
        self._writing[file.path] = file
        header = {"version": metadata.version("posewire"), "stream": file.stream_id, "recorded": file.started_at}
        self._append(file, MAGIC + pack_json(Kind.HEADER, 0.0, header))

    def _append(self, file: RecordingFile, data: bytes) -> None:
        assert file.output is not None
        written = file.output.write(data)
        self._total_bytes += written
        if written != len(data):  # the disk is full; anything written after an incomplete record would be unreadable
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _finish(self, file: RecordingFile, time_s: float, reason: str) -> None:
        assert file.output is not None
        file.ended = True
        self._append(file, pack_json(Kind.END, time_s, {"reason": reason}))
        file.output.close()
        file.path.replace(file.finished_path)
        del self._writing[file.path]
        whole = str(file.finished_path)
        log.info("stream recorded", extra=facts(file=whole, reason=reason, stream=file.stream_id))

    def _give_up(self, file: RecordingFile, error: Exception) -> None:
        log.warning("a recording ends: %s", reason_of(error), extra=facts(file=str(file.path)))
        file.ended = True
        self._writing.pop(file.path, None)
        if file.output is not None:
            with suppress(OSError):  # on a network file system, this may fail too
                file.output.close()

    def _make_room(self, more: int) -> bool:
        """Delete the oldest recordings until there is room for `more` bytes; False if that is not possible."""
        if self._total_bytes + more <= self._look_again_at_bytes:
            return True
        room = max(more, int(_WRITTEN_BETWEEN_LOOKS * self._max_bytes))
        files = sorted(self._recordings())
        self._total_bytes = sum(size for _, size, _ in files)  # others may have written or deleted files
        for _, size, path in files:
            if self._total_bytes + room <= self._max_bytes:
                break
            if path not in self._writing and not _is_being_written(path):
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    log.warning("%s, an old recording, cannot be deleted: %s", path, reason_of(error))
                    continue
                log.info("an old recording was deleted to make room", extra=facts(file=str(path)))
                self._total_bytes -= size
        self._look_again_at_bytes = min(self._total_bytes + room, self._max_bytes)
        return self._total_bytes + more <= self._max_bytes

    def _recordings(self) -> list[tuple[float, int, Path]]:
        """Modification time, size and path of each recording in the folder."""
        found = []
        for path in self._folder.iterdir():
            if path.name.endswith((FINISHED, UNFINISHED)):
                with suppress(FileNotFoundError):  # another server has just made room
                    stat = path.stat()
                    found.append((stat.st_mtime, stat.st_size, path))
        return found


def _is_being_written(path: Path) -> bool:
    """Whether a running server is still writing this file."""
    if not path.name.endswith(UNFINISHED):
        return False
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # it is locked, or that cannot be determined
        return True
    return False


@dataclass(eq=False)
class RecordingFile:
    """A recording that is being written.

    Attributes:
        path: of the unfinished file.
        stream_id: of the recorded stream.
        started_at: date and time of its start.
        start_s: the same, on the clock of `time.monotonic`.
        size: of the messages put into it, in bytes.
        output: the open file, used by the recorder's thread.
        ended: whether nothing more is written.
    """

    path: Path
    stream_id: str
    started_at: str
    start_s: float
    size: int = 0
    output: BinaryIO | None = None
    ended: bool = False

    @property
    def finished_path(self) -> Path:
        """Its path when it is finished."""
        return self.path.with_name(self.path.name.removesuffix(UNFINISHED) + FINISHED)


@dataclass(eq=False)
class Piece:
    """A message to be written to a file, or the reason for the file's end."""

    file: RecordingFile
    time_s: float
    message: track_pb2.TrackRequest | track_pb2.TrackResponse | None = None
    size: int = 0
    end: str | None = None

    @property
    def bytes_about(self) -> int:
        """Approximate memory that it takes while it waits; 0 for an end, which is always accepted."""
        return _SMALL_MESSAGE_BYTES + self.size if self.end is None else 0
