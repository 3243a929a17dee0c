"""Bearer tokens and what they allow. The file holds hashes only, so reading it does not enable anyone to call.

A line of the file, as `posewire token` prints it:

    NAME:SHA256[:LIMITS]        door:9f86d0...:streams=2,fps=60,pixels=2073600

LIMITS, all optional: `streams` open at the same time, `fps` frames per second over all of them, `pixels` of one frame,
and `admin`, which lets the caller see the streams of others. Empty lines and lines that start with # are ignored.

Tokens are 256 random bits and cannot be guessed, so a plain hash is enough. Importing this is cheap.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
import time
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from posewire.file_changes import FileChanges
from posewire.os_errors import reason_of
from posewire.small_files import read_small_text
from posewire_server.admission.rates import RateLimit
from posewire_server.config import LEAST_FRAME_PIXELS, LimitsConfig
from posewire_server.errors import NotAuthenticated

__all__ = ["ANYBODY", "Caller", "TokenFile", "TokenGrant", "append_line", "new_token"]

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TOKEN_PREFIX = "pwt_"  # so that scanners for leaked secrets recognise it
_TOKEN_BYTES = 32
_MOST = 10**12
# Longer strings are not hashed, since no token is that long.
_MAX_PRESENTED = 512
# A file that lacks a known token, or allows it something else, may be half written until it is this old.
_SETTLED_AFTER_S = 1.0


@dataclass(frozen=True)
class TokenGrant:
    """What a token allows; 0: as much as the server does.

    Attributes:
        name: of the token's holder; for logs and lists.
        streams: number open at the same time.
        fps: frames per second, over all streams and pictures.
        pixels: width times height of a frame; at least 1024, like the server's own limit.
        admin: whether the holder sees the streams of others.

    Raises:
        ValueError: a value is out of range.
    """

    name: str
    streams: int = 0
    fps: float = 0.0
    pixels: int = 0
    admin: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"the name of a token is {self.name!r}; use 1 to 64 letters, digits, dots, hyphens, underscores"
            )
        for limit in ("streams", "fps", "pixels"):
            if not 0 <= getattr(self, limit) <= _MOST:
                raise ValueError(
                    f"{limit} is {getattr(self, limit)}; it must be above 0 and at most {_MOST}, or be left out for no "
                    "limit"
                )
        if 0 < self.pixels < LEAST_FRAME_PIXELS:
            raise ValueError(
                f"pixels is {self.pixels}; it must lie in {LEAST_FRAME_PIXELS}..{_MOST}, as width times height of a "
                "frame (921600 for 1280x720), or be left out for no limit"
            )

    def line(self, digest: str) -> str:
        """The line in the token file for a token with this hash."""
        given = [(name, value) for name in ("streams", "fps", "pixels") if (value := getattr(self, name))]
        # Not rounded; whole numbers without a decimal point, which `streams` must not have.
        limits = [f"{name}={str(value).removesuffix('.0')}" for name, value in given] + ["admin"] * self.admin
        return ":".join((self.name, digest, *([",".join(limits)] if limits else [])))


class Caller:
    """The caller that a token identifies.

    Args:
        grant: what its token allows.
        now: returns what the token allows at present; None once it has been withdrawn.

    Attributes:
        rate: limits its frames; None: unlimited.
    """

    def __init__(self, grant: TokenGrant, now: Callable[[], TokenGrant | None] | None = None) -> None:
        self.grant = grant
        self._now = now or (lambda: grant)
        # A burst of at least two: waiting streams take one only if they can leave another for those that do not wait.
        self.rate = RateLimit(grant.fps, burst=max(2.0, grant.fps)) if grant.fps else None

    def is_known(self) -> bool:
        """Whether the token is still accepted."""
        return self._now() is not None

    def has_changed(self) -> bool:
        """Whether what the token allows has changed."""
        return self._now() not in (None, self.grant)

    @property
    def name(self) -> str:
        """The name in its token's line."""
        return self.grant.name

    def within(self, limits: LimitsConfig) -> LimitsConfig:
        """The limits of the server, narrowed to those of the token."""
        pixels = self.grant.pixels
        return replace(limits, max_frame_pixels=min(limits.max_frame_pixels, pixels)) if pixels else limits


class _Anybody(Caller):
    """Every caller of a server without tokens."""

    def __init__(self) -> None:
        super().__init__(TokenGrant(name="anybody", admin=True))

    @property
    def name(self) -> str:
        """Empty, since such callers are anonymous."""
        return ""


ANYBODY = _Anybody()


class TokenFile:
    """The tokens that a server accepts. A changed file is read again at the next call or check of an open stream.

    Args:
        file: in the format described above.

    Raises:
        OSError: it cannot be read.
        ValueError: a line is invalid; the message gives its number, not its contents.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._changes = FileChanges([file])
        self._callers = self._called(_read(file))

    def caller_of(self, authorization: str) -> Caller:
        """The caller whose token this is.

        Args:
            authorization: value of the metadata: `Bearer TOKEN`.

        Raises:
            NotAuthenticated: the token is missing or unknown.
        """
        self._refresh()
        scheme, _, token = authorization.partition(" ")
        if not authorization:
            raise NotAuthenticated("a token is needed here: send it as metadata `authorization: Bearer TOKEN`")
        if scheme.lower() != "bearer" or not token or len(token) > _MAX_PRESENTED:
            raise NotAuthenticated("the metadata `authorization` is not of the form `Bearer TOKEN`")
        presented = _digest(token.strip())
        found = None
        # All are compared, each in constant time, so that the duration reveals nothing about any of them.
        for digest, caller in self._callers.items():
            if hmac.compare_digest(digest, presented):
                found = caller
        if found is None:
            raise NotAuthenticated("this token is not known here; it may have been withdrawn: ask for a new one")
        return found

    def _refresh(self) -> None:
        if self._changes.happened():
            # In an empty context: the log line must not carry the id of the stream that happened to check.
            Context().run(self._read_again)

    def _read_again(self) -> None:
        if _is_device(self._file):
            return  # what came through a pipe when the server started is not there a second time
        try:
            grants, written_s = _read(self._file), self._file.stat().st_mtime
        except (OSError, ValueError) as error:
            why = f"{self._file}: {reason_of(error)}" if isinstance(error, OSError) else str(error)
            # An invalid file stays invalid until it changes; an unreadable one may become readable at any time.
            if not isinstance(error, OSError) or self._changes.unread(why):
                log.error("the changed token file cannot be used, the tokens stay as they were: %s", why)
            return
        # Callers whose grant is unchanged keep their rate limits' state.
        same = {digest: caller for digest, caller in self._callers.items() if grants.get(digest) == caller.grant}
        # A time far in the future, of a clock that was wrong, must not keep withdrawn tokens valid until then.
        if len(same) < len(self._callers) and abs(time.time() - written_s) < _SETTLED_AFTER_S:
            self._callers = self._called(grants) | self._callers
            self._changes.unread("")
            return
        self._callers = self._called(grants) | same
        log.info("the token file was read again: %d tokens", len(grants))

    def _called(self, grants: dict[str, TokenGrant]) -> dict[str, Caller]:
        return {digest: Caller(grant, partial(self._granted, digest)) for digest, grant in grants.items()}

    def _granted(self, digest: str) -> TokenGrant | None:
        self._refresh()
        caller = self._callers.get(digest)
        return caller.grant if caller is not None else None


def new_token(grant: TokenGrant) -> tuple[str, str]:
    """A new token, and its line for the token file. The token is stored nowhere: show it once."""
    token = _TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    return token, grant.line(_digest(token))


def append_line(file: Path, line: str) -> None:
    """Add the line of a new token to a file. A missing file is created, readable by its owner only.

    Raises:
        OSError: it cannot be written.
        ValueError: it is not a token file, or already has a token of that name.
    """
    if _is_device(file):
        raise ValueError(f"{file} is a device or pipe; name a token file")
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    with open(descriptor, "r+", encoding="utf-8") as output:
        fcntl.flock(output, fcntl.LOCK_EX)  # until it is closed: other writers wait, and then see this line
        if line.partition(":")[0] in {grant.name for grant in _read(file).values()}:
            raise ValueError(f"{file} has a token named {line.partition(':')[0]!r}; choose another name")
        text = output.read()
        output.write("\n" * (bool(text) and not text.endswith("\n")) + line + "\n")


def _is_device(file: Path) -> bool:
    """Whether it is a device or pipe."""
    return file.exists() and not (file.is_file() or file.is_dir())


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _read(file: Path) -> dict[str, TokenGrant]:
    """The grants in a token file, by hash."""
    try:
        lines = read_small_text(file).splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"the token file {file} is not UTF-8 text") from error
    except ValueError as error:
        raise ValueError(f"the token file {file} cannot be used: {error}") from error
    grants: dict[str, TokenGrant] = {}
    names: set[str] = set()
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            digest, grant = _parse(text)
        except ValueError as error:
            raise ValueError(f"line {number} of the token file {file}: {error}") from error
        if digest in grants or grant.name in names:
            raise ValueError(f"line {number} of the token file {file}: its name or its token occurs twice")
        names.add(grant.name)
        grants[digest] = grant
    return grants


def _parse(line: str) -> tuple[str, TokenGrant]:
    """Hash and grant of one line. Messages never repeat the hash, since a token may have been put in its place."""
    name, _, rest = line.partition(":")
    digest, _, limits = rest.partition(":")
    if not _DIGEST.fullmatch(digest):
        raise ValueError("after the name comes the SHA-256 of the token, 64 hex digits; `posewire token` makes it")
    given: dict[str, int | float | bool] = {}
    for limit in filter(None, limits.split(",")):
        key, _, value = limit.partition("=")
        if key not in ("streams", "fps", "pixels", "admin") or (key == "admin") != (not value):
            raise ValueError(f"{limit!r} is not a limit; use streams=N, fps=N, pixels=N or admin")
        try:
            given[key] = True if key == "admin" else float(value) if key == "fps" else int(value)
        except ValueError as error:
            raise ValueError(f"{limit!r} is not a valid limit: {value!r} is not a number") from error
        if not given[key] > 0:
            raise ValueError(f"{limit!r} would allow nothing; leave it out for no limit")
    return digest, TokenGrant(name=name, **given)  # type: ignore[arg-type]  # each has its type
