"""Downloading one large file over HTTP: resumed after an interruption, checked by its digest.

A partial file is kept at the final path, with a note beside it (`.resume`) of the address and version that it belongs
to. The rest is requested with `Range` and `If-Range`; a server that does not support these, or has another version by
now, sends the whole file, and the download starts over.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from posewire.os_errors import reason_of
from posewire_models.one_line import in_one_line
from posewire_models.published.errors import DownloadError
from posewire_models.published.http_headers import ByteRange, part_of, version_of, whole_of
from posewire_models.whole_files import file_digest

__all__ = ["FetchSettings", "Progress", "check_address", "discard", "fetch"]

Progress = Callable[[int, int | None], None]
"""Called with the bytes received so far, and the size of the whole file, or None if the server does not say."""

_CHUNK = 1 << 20
_CLIENT = "posewire"


@dataclass(frozen=True, kw_only=True)
class FetchSettings:
    """Timeout and retries of a download.

    Attributes:
        timeout_s: silence of the server after which the connection is given up.
        attempts: connections made for an interrupted file, each resuming where the last one ended. Counting starts over
            whenever one gets further than all before it.
        retry_wait_s: wait before the second attempt, doubled for each further one.
    """

    timeout_s: float = 30.0
    attempts: int = 4
    retry_wait_s: float = 1.0

    def __post_init__(self) -> None:
        if self.timeout_s <= 0 or self.attempts < 1 or self.retry_wait_s < 0:
            raise ValueError("timeout_s must be above 0, attempts at least 1, retry_wait_s at least 0")


class _InterruptedError(Exception):
    """The connection ended early; the bytes received are kept."""


def fetch(
    address: str,
    path: Path,
    *,
    sha256_prefix: str = "",
    max_bytes: int | None = None,
    progress: Progress = lambda done, total: None,
    settings: FetchSettings = FetchSettings(),
) -> str:
    """Fetch `address` to `path`, resuming what an earlier call left there.

    Args:
        address: `https://...` (or `http://...`).
        path: complete only when this returns. After a failure the partial file stays there for the next call.
        sha256_prefix: what the digest must begin with; a file with another digest is deleted.
        max_bytes: larger files are not fetched.
        progress: called after every chunk.
        settings: timeouts and attempts.

    Returns:
        The file's SHA-256, hexadecimal.

    Raises:
        DownloadError: with the address and the reason.
    """
    check_address(address)
    download = _Download(address, path, bool(sha256_prefix), max_bytes, progress, settings)
    resumed = path.exists()
    download.run()
    digest = file_digest(path)
    if not digest.startswith(sha256_prefix) and resumed:
        # The beginning may be from another version, if the server sends no validators.
        discard(path)
        download.run()
        digest = file_digest(path)
    if not digest.startswith(sha256_prefix):
        discard(path)
        raise DownloadError(
            f"{address} is damaged or another file: its SHA-256 begins with {digest[:16]}, not with {sha256_prefix}; "
            "nothing of it was kept"
        )
    return digest


def check_address(address: str) -> None:
    """Validate an address.

    Raises:
        DownloadError: it is not valid; the message shows what one looks like.
    """
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        usable = usable and address.isprintable() and " " not in address
    except ValueError:  # a port that is not a number, unbalanced brackets
        usable = False
    if not usable:
        raise DownloadError(f"{address!r} is no address to fetch from; one looks like https://mirror.example/weights")
    if "@" in parts.netloc:
        raise DownloadError(
            f"the address at {parts.hostname} has a user name or a password, which cannot be sent; name a server that "
            "asks for none, or get the file by other means, and then: posewire models convert FILE"
        )
    if not address.isascii():
        raise DownloadError(
            f"{address!r} has letters that no address may have; write those of a path in percent-encoding (%C3%A9), "
            "those of a host in Punycode (xn--...)"
        )


def discard(path: Path) -> None:
    """Delete a partial download at `path`."""
    path.unlink(missing_ok=True)
    _note(path).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Beginning:
    """Identifies what a partial file belongs to: the address, and the server's validator of the file's version."""

    address: str
    version: str


@dataclass(frozen=True)
class _Download:
    address: str
    path: Path
    digest_known: bool
    max_bytes: int | None
    progress: Progress
    settings: FetchSettings

    def run(self) -> None:
        """Fetch the whole file, over as many connections as needed."""
        failures, furthest = 0, 0
        while True:
            try:
                with _write_errors(self.path):
                    while not self._fetch_rest():
                        pass
                return
            except _InterruptedError as error:
                reached = self.path.stat().st_size if self.path.exists() else 0
                failures = 1 if reached > furthest else failures + 1
                furthest = max(furthest, reached)
                if failures >= self.settings.attempts:
                    kept = f"{_megabytes(reached)} are kept in {self.path}: the same command goes on from there"
                    if not reached:
                        kept = "nothing has arrived yet; try again later"
                    raise DownloadError(f"the download of {self.address} broke off ({error}); {kept}") from None
                time.sleep(self.settings.retry_wait_s * 2 ** (failures - 1))

    def _fetch_rest(self) -> bool:
        """Fetch the rest over one connection, as far as it goes; returns whether the file is complete.

        If the server now has another file than the partial one, the partial one is deleted.
        """
        offset, version = self._have()
        request = urllib.request.Request(self.address, headers={"User-Agent": _CLIENT, "Accept-Encoding": "identity"})
        if offset:
            request.add_header("Range", f"bytes={offset}-")
            if version:
                request.add_header("If-Range", version)
        try:
            response = self._open(request, has_begun=offset > 0)
        except urllib.error.HTTPError as error:
            with contextlib.closing(error):  # of a circle of redirections, it is closed already
                if error.code != 416 or not offset:
                    raise self._refusal(error) from None
                if re.fullmatch(rf"bytes \*/{offset}", error.headers.get("Content-Range", "")):
                    self.progress(offset, offset)  # it was complete already
                    return True
        else:
            with response:
                if response.status != 206:
                    return self._receive(response, whole_of(response.headers))
                part = part_of(response.headers)
                if part and part.start == offset > 0 and version_of(response.headers) in ("", version):
                    return self._receive(response, part)
                if not offset:
                    raise DownloadError(f"{self.address}: asked for the whole file, the server sends a part")
        discard(self.path)
        return False

    def _have(self) -> tuple[int, str]:
        """Bytes of the partial file that can be resumed, and their version."""
        try:
            beginning = _Beginning(**json.loads(_note(self.path).read_text(encoding="utf-8")))
            if beginning.address == self.address and (beginning.version or self.digest_known):
                return self.path.stat().st_size, beginning.version
        except (FileNotFoundError, ValueError, TypeError):
            pass  # no note, or an invalid one: the partial file is useless
        discard(self.path)
        return 0, ""

    def _open(self, request: urllib.request.Request, *, has_begun: bool) -> Any:
        try:
            # Made for every call, because it reads the proxies from the environment when it is made.
            return urllib.request.build_opener(_NoDowngrade).open(request, timeout=self.settings.timeout_s)
        except (urllib.error.HTTPError, DownloadError):
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: redirect to an invalid address
            why = _words_of(error)
            if has_begun and not isinstance(error, ValueError):
                raise _InterruptedError(why) from None  # the server was there before, so it may return
            raise DownloadError(f"cannot reach {self.address}: {why}") from None

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        if error.code in (408, 429) or error.code >= 500:
            return _InterruptedError(f"the server answers {error.code} {in_one_line(error.reason)}")
        return DownloadError(f"the server refuses {self.address}: {error.code} {in_one_line(error.reason)}")

    def _receive(self, response: Any, part: ByteRange) -> bool:
        """Append the body, which is `part`, to the partial file; returns whether the file is complete."""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise DownloadError(f"{self.address} is sent compressed, though no compression was requested")
        done, end, total = part
        expected = total or end
        if expected is not None:
            self._check_size(expected)
            self._check_room(expected - done)
        with self.path.open("ab" if done else "wb") as file:
            if not done:
                beginning = _Beginning(self.address, version_of(response.headers))
                _note(self.path).write_text(json.dumps(asdict(beginning)), encoding="utf-8")
            self.progress(done, total)
            for chunk in iter(lambda: _read(response), b""):
                done += len(chunk)
                self._check_size(done)
                file.write(chunk)
                self.progress(done, total)
        if end is not None and done < end:
            raise _InterruptedError(f"after {done} of {expected} bytes")
        return end is None or done == total

    def _check_size(self, size: int) -> None:
        if self.max_bytes is not None and size > self.max_bytes:
            discard(self.path)
            raise DownloadError(
                f"{self.address} has more than {_megabytes(self.max_bytes)}: not the file that is meant"
            )

    def _check_room(self, needed: int) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if free < needed:
            raise DownloadError(
                f"no room for {self.address}: {_megabytes(needed)} are needed, {_megabytes(free)} are free in "
                f"{self.path.parent}; make room there, or set POSEWIRE_CACHE to another folder"
            )


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to anything else; closes the response of one that is not followed."""

    def http_error_302(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any) -> Any:
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except (DownloadError, ValueError):  # ValueError: redirect to an invalid address
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        secure = urlsplit(req.full_url).scheme == "https"
        if urlsplit(newurl).scheme not in (("https",) if secure else ("http", "https")):
            raise DownloadError(f"{req.full_url} redirects to {newurl}, which is not safe; not followed")
        fp.close()  # else urllib reads it to its end, however long it is
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _read(response: Any) -> bytes:
    try:
        # `read1` returns what is there; `read` waits for everything, and loses it if the connection breaks meanwhile.
        chunk: bytes = response.read1(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _InterruptedError(_words_of(error)) from None
    return chunk


@contextlib.contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DownloadError(
            f"cannot write {path}: {reason_of(error)}; make room there, or set POSEWIRE_CACHE to another folder"
        ) from error


def _words_of(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return in_one_line(reason_of(cause) if isinstance(cause, Exception) else cause) or type(error).__name__


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _note(path: Path) -> Path:
    return path.with_name(path.name + ".resume")
