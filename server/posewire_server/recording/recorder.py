"""Writing streams to disk, beside their way: whatever goes wrong here costs the recording and nothing else."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO

from posewire.v1 import track_pb2
from posewire_server.observability.logs import current_stream, facts
from posewire_server.recording.file_format import FINISHED, UNFINISHED, Kind, begin, pack, pack_json

__all__ = ["Recorder", "StreamRecording"]

log = logging.getLogger(__name__)

# Frames that wait for the disk, of all streams. Beyond that a recording would have gaps, so it ends.
_MOST_WAITING_BYTES = 64 * 2**20
_SMALL_MESSAGE_BYTES = 1024
# An unfinished file that nobody has written to for so long was left by a server that was killed.
_ABANDONED_S = 3600.0
# What is under way when the server stops gets so long to be finished.
_LAST_WRITING_S = 10.0


class Recorder:
    """Records streams into a folder, one file each, on a thread of its own.

    Args:
        folder: made if it is not there, for its owner's eyes only: the files hold pictures of people.
        max_bytes: of all recordings in the folder. The oldest ones make room for new ones; a single stream that needs
            more is recorded up to there.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._max_bytes = max_bytes
        self._work: SimpleQueue[_Piece | None] = SimpleQueue()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._writing: dict[Path, _File] = {}
        self._total_bytes = sum(size for _, size, _ in self._recordings())
        self._thread = threading.Thread(target=self._serve, name="posewire-recorder", daemon=True)
        self._thread.start()

    def begin(self) -> StreamRecording:
        """A recording of the stream in whose task this is called; its file appears when the stream has started."""
        return StreamRecording(self)

    def close(self) -> None:
        """Finish what is under way."""
        self._work.put(None)
        self._thread.join(_LAST_WRITING_S)

    def put(self, piece: _Piece) -> bool:
        """Have a piece written; False if the disk is too slow for it."""
        with self._lock:
            if self._waiting_bytes + piece.bytes_about > _MOST_WAITING_BYTES:
                return False
            self._waiting_bytes += piece.bytes_about
        self._work.put(piece)
        return True

    def _serve(self) -> None:
        """The thread."""
        while (piece := self._work.get()) is not None:
            try:
                self._write(piece)
            except OSError as error:
                self._give_up(piece.file, error)
            with self._lock:
                self._waiting_bytes -= piece.bytes_about
            del piece  # a waiting thread must not keep the last frame alive
        for file in list(self._writing.values()):
            self._end(file, time.monotonic() - file.start_s, "the server stopped")

    def _end(self, file: _File, time_s: float, reason: str) -> None:
        try:
            self._finish(file, time_s, reason)
        except OSError as error:
            self._give_up(file, error)

    def _write(self, piece: _Piece) -> None:
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
            return
        self._append(file, data)

    def _open(self, file: _File) -> None:
        # Without a buffer: what was written is there, even if the server is killed.
        descriptor = os.open(file.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        file.output = open(descriptor, "wb", buffering=0)  # noqa: SIM115  closed by `_finish`
        self._writing[file.path] = file
        header = {"version": metadata.version("posewire"), "stream": file.stream_id, "recorded": file.started_at}
        self._append(file, begin() + pack_json(Kind.HEADER, 0.0, header))

    def _append(self, file: _File, data: bytes) -> None:
        assert file.output is not None
        written = file.output.write(data)
        self._total_bytes += written
        if written != len(data):  # a full disk takes what it has room for; what came after that would not be readable
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _finish(self, file: _File, time_s: float, reason: str) -> None:
        assert file.output is not None
        file.ended = True
        self._append(file, pack_json(Kind.END, time_s, {"reason": reason}))
        file.output.close()
        whole = file.path.with_name(file.path.name.removesuffix(UNFINISHED) + FINISHED)
        file.path.replace(whole)
        del self._writing[file.path]
        log.info("stream recorded", extra=facts(file=str(whole), reason=reason, stream=file.stream_id))

    def _give_up(self, file: _File, error: OSError) -> None:
        log.warning("a recording ends: %s", error, extra=facts(file=str(file.path)))
        file.ended = True
        self._writing.pop(file.path, None)
        if file.output is not None:
            with suppress(OSError):  # where the file lies elsewhere, this may fail too
                file.output.close()

    def _make_room(self, more: int) -> bool:
        """Remove the oldest recordings until there is room for more bytes; False if there is none to be had."""
        if self._total_bytes + more <= self._max_bytes:
            return True
        files = sorted(self._recordings())
        self._total_bytes = sum(size for _, size, _ in files)  # somebody else may have removed some
        for _, size, path in files:
            if self._total_bytes + more <= self._max_bytes:
                break
            if path not in self._writing:
                path.unlink(missing_ok=True)
                log.info("an old recording makes room", extra=facts(file=str(path)))
                self._total_bytes -= size
        return self._total_bytes + more <= self._max_bytes

    def _recordings(self) -> list[tuple[float, int, Path]]:
        """Age, size and path of what is in the folder, except for what other servers may be writing."""
        found = []
        for path in self._folder.iterdir():
            if path.name.endswith((FINISHED, UNFINISHED)):
                try:
                    stat = path.stat()
                except FileNotFoundError:  # another server has just made room
                    continue
                mine = path in self._writing or not path.name.endswith(UNFINISHED)
                if mine or time.time() - stat.st_mtime > _ABANDONED_S:
                    found.append((stat.st_mtime, stat.st_size, path))
        return found

    def path_for(self, stream_id: str) -> tuple[Path, str]:
        """Where a stream's unfinished file goes, and the present time."""
        now = datetime.now(UTC)
        name = f"{now:%Y%m%d-%H%M%S}-{stream_id}-{secrets.token_hex(2)}{UNFINISHED}"
        return self._folder / name, now.isoformat(timespec="seconds")


@dataclass(eq=False)
class _File:
    path: Path
    stream_id: str
    started_at: str
    start_s: float
    output: BinaryIO | None = None
    ended: bool = False


@dataclass(eq=False)
class _Piece:
    file: _File
    time_s: float
    message: track_pb2.TrackRequest | track_pb2.TrackResponse | None = None
    end: str | None = None
    bytes_about: int = field(default=_SMALL_MESSAGE_BYTES)


class StreamRecording:
    """The messages of one stream on their way to the disk. Nothing here waits, and nothing raises."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._configuration: track_pb2.TrackRequest | None = None
        self._file: _File | None = None
        self._ended = False

    def request(self, request: track_pb2.TrackRequest) -> None:
        """A request came. The configuration is held until it is accepted: a call that is refused leaves no file."""
        if request.HasField("config") and request.config.HasField("resume"):
            request = _without_token(request)
        if self._file is None:
            self._configuration = request
        else:
            self._put(request)

    def response(self, response: track_pb2.TrackResponse) -> None:
        """A response leaves; with the first, a stream has started."""
        if self._file is None:
            self._begin()
        if response.resume_token:  # whoever reads the file must not be able to take the stream over
            copied = track_pb2.TrackResponse()
            copied.CopyFrom(response)
            copied.ClearField("resume_token")
            response = copied
        self._put(response)

    def end(self, reason: str = "the stream ended") -> None:
        """Nothing more comes."""
        if self._file is not None and not self._ended:
            self._ended = True
            self._recorder.put(_Piece(self._file, time.monotonic() - self._file.start_s, end=reason, bytes_about=0))

    def _begin(self) -> None:
        stream_id = current_stream.get()
        path, started_at = self._recorder.path_for(stream_id)
        self._file = _File(path, stream_id, started_at, time.monotonic())
        if self._configuration is not None:
            self._put(self._configuration)
        self._configuration = None

    def _put(self, message: track_pb2.TrackRequest | track_pb2.TrackResponse) -> None:
        if self._file is None or self._ended:
            return
        piece = _Piece(self._file, time.monotonic() - self._file.start_s, message)
        piece.bytes_about += message.ByteSize()  # fields that this version does not know take room, too
        if not self._recorder.put(piece):
            log.warning("a recording ends: the disk is too slow for it")
            self.end("the disk was too slow")


def _without_token(request: track_pb2.TrackRequest) -> track_pb2.TrackRequest:
    copied = track_pb2.TrackRequest()
    copied.CopyFrom(request)
    copied.config.resume.ClearField("token")
    return copied
