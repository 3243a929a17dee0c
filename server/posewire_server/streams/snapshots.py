"""Signed snapshots of a tracker, with which a client can continue its stream on any server that has the same key.

A token is an HMAC-SHA256 signature of what follows: the length of a JSON header, the header, and the bytes of the
arrays. Nothing is parsed before the signature has been verified.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import logging
import os
import secrets
import struct
import time
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from posewire.joints import JointSet
from posewire.os_errors import reason_of
from posewire.small_files import read_small_file
from posewire_server.tracking import TrackerConfig, TrackerState

__all__ = ["Snapshot", "Snapshots", "TokenRefused", "load_key"]

log = logging.getLogger(__name__)

_VERSION = 5
_SIGNATURE_BYTES = 32
_KEY_BYTES = 32
_ARRAY = "array"
# Clocks of two servers may differ by this much.
_CLOCK_SKEW_S = 10.0


class TokenRefused(Exception):  # noqa: N818  it says what happened
    """A token is not accepted; the message says why, and goes to the client."""


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What a token holds.

    Attributes:
        state: of the tracker.
        frame_size: (height, width) of the frame to which its joints belong; None before the first frame.
        frame_s: when that frame was taken, on the client's clock; None if the client does not send capture times.
        interval_s: time between two frames of the camera; None likewise.
    """

    state: TrackerState
    frame_size: tuple[int, int] | None
    frame_s: float | None = None
    interval_s: float | None = None


class Snapshots:
    """Issues and redeems tokens.

    Args:
        key: secret that servers share.
        lifetime_s: how long a token is accepted.
        joint_set: of the server's pose network.
        clock: seconds since the epoch; a test's own.
    """

    def __init__(
        self, key: bytes, lifetime_s: float, joint_set: JointSet, clock: Callable[[], float] = time.time
    ) -> None:
        self._key = key
        self._lifetime_s = lifetime_s
        self._joint_set = joint_set
        self._clock = clock

    def issue(self, snapshot: Snapshot, config: TrackerConfig, stream: str = "") -> bytes:
        """A token for `snapshot` of the stream with this id, valid for streams with these settings."""
        arrays: list[npt.NDArray[Any]] = []
        header = {
            "version": _VERSION,
            "issued": self._clock(),
            "stream": stream,
            "joint_set": self._joint_set.names,
            "tracker": _as_sent(config),
            "snapshot": _pack(snapshot, arrays),
            "arrays": [(array.dtype.str, array.shape) for array in arrays],
        }
        text = json.dumps(header, separators=(",", ":")).encode()
        body = b"".join((struct.pack("<I", len(text)), text, *(array.tobytes() for array in arrays)))
        return self._sign(body) + body

    def redeem(self, token: bytes, config: TrackerConfig) -> Snapshot:
        """What a token holds.

        Raises:
            TokenRefused: it was not signed with this key, is too old, or belongs to other settings or another version.
        """
        header, contents = self._opened(token)
        if header["joint_set"] != list(self._joint_set.names):
            raise TokenRefused("the token belongs to a stream whose pose network has other joints")
        if header["tracker"] != json.loads(json.dumps(_as_sent(config))):
            raise TokenRefused("the token belongs to a stream with other tracker settings; open this one with the same")
        arrays = _arrays(header["arrays"], contents)
        try:
            return typing.cast(Snapshot, _unpack(Snapshot, header["snapshot"], arrays))
        except (KeyError, TypeError) as error:
            raise TokenRefused("the token is of another version of the server") from error

    def stream_of(self, token: bytes) -> str:
        """The id of the stream that a token belongs to; empty if that cannot be told, or the token is too old."""
        try:
            header, _ = self._opened(token)
        except TokenRefused:
            return ""
        return str(header.get("stream", ""))

    def _opened(self, token: bytes) -> tuple[dict[str, Any], memoryview]:
        """The header of a token, and the bytes of its arrays.

        Raises:
            TokenRefused: it was not signed with this key, is too old, or belongs to another version.
        """
        if not token:
            raise TokenRefused("the token is empty; send the newest resume_token of the earlier stream")
        signature, body = token[:_SIGNATURE_BYTES], token[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(body)):
            raise TokenRefused(
                "the token was not signed with this server's key, or was changed on its way; servers that continue "
                "each other's streams need the same --resume-key"
            )
        (length,) = struct.unpack_from("<I", body)
        header = json.loads(body[4 : 4 + length])
        if header["version"] != _VERSION:
            raise TokenRefused("the token is of another version of the server")
        age_s = self._clock() - header["issued"]
        if age_s < -_CLOCK_SKEW_S:
            raise TokenRefused(
                f"the token was given {-age_s:.0f} s from now, by this server's clock; servers whose clocks differ by "
                f"more than {_CLOCK_SKEW_S:g} s do not take up each other's streams: synchronise them"
            )
        if age_s > self._lifetime_s:
            raise TokenRefused(
                f"the token is {age_s:.0f} s old; tokens are accepted for {self._lifetime_s:g} s (resume_lifetime_s)"
            )
        return header, memoryview(body)[4 + length :]

    def _sign(self, body: bytes) -> bytes:
        return hmac.new(self._key, body, hashlib.sha256).digest()


def load_key(file: Path | None) -> bytes:
    """The signing key.

    Args:
        file: holds the key; created if missing. By default a file in the user's state directory, so that a restarted
            server accepts the tokens it gave out.

    Raises:
        OSError: `file` can neither be read nor written.
        ValueError: it is too short to be a key, or too long.
    """
    if file is None:
        try:
            state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
            return load_key(state / "posewire" / "resume.key")
        except (OSError, RuntimeError) as error:  # the latter of `Path.home`
            why = f"{error.filename}: {reason_of(error)}" if isinstance(error, OSError) else "there is no home folder"
            log.warning(
                "no resume key can be kept (%s): streams cannot be resumed after a restart; name a file for it with "
                "--resume-key",
                why,
            )
            return secrets.token_bytes(_KEY_BYTES)
    try:
        key = read_small_file(file)
    except FileNotFoundError:
        key = _make_key(file)
    except ValueError as error:
        raise ValueError(f"the resume key {file} cannot be used: {error}") from error
    if len(key) < _KEY_BYTES:
        raise ValueError(f"the resume key {file} has {len(key)} bytes; it needs {_KEY_BYTES} random ones")
    return key


def _make_key(file: Path) -> bytes:
    """Write a new key; if another server was faster, use its key."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as output:
            output.write(secrets.token_bytes(_KEY_BYTES))
        try:
            os.link(unfinished, file)
        except FileExistsError:
            log.debug("another server has just made the resume key %s", file)
        finally:
            unfinished.unlink()
    except OSError as error:  # some file systems have no hard links
        remedy = f"make this file of {_KEY_BYTES} random bytes yourself, as with `openssl rand {_KEY_BYTES}`"
        raise OSError(error.errno, f"{error.strerror}; {remedy}", str(file)) from error
    return file.read_bytes()


def _as_sent(config: TrackerConfig) -> dict[str, object]:
    """Settings rounded to 32 bits, as on the wire, since a client passes one server's settings on to the next.

    `max_people` is left out: each server has its own, and nothing that a tracker remembers depends on it.
    """
    values = dataclasses.asdict(config)
    del values["max_people"]
    return {name: float(np.float32(value)) if isinstance(value, float) else value for name, value in values.items()}


def _pack(value: Any, arrays: list[npt.NDArray[Any]]) -> Any:
    """Dataclasses of arrays, numbers and tuples as JSON; arrays are moved to `arrays` and replaced by indices."""
    if isinstance(value, np.ndarray):
        arrays.append(np.ascontiguousarray(value))
        return {_ARRAY: len(arrays) - 1}
    if dataclasses.is_dataclass(value):
        return {field.name: _pack(getattr(value, field.name), arrays) for field in dataclasses.fields(value)}
    return value


def _unpack(kind: Any, value: Any, arrays: list[npt.NDArray[Any]]) -> Any:
    """The inverse of `_pack`, for a value of type `kind`."""
    if dataclasses.is_dataclass(kind):
        kinds = typing.get_type_hints(kind)
        if kinds.keys() != value.keys():
            raise KeyError(f"{kind} has other fields")
        return typing.cast(type, kind)(**{name: _unpack(kinds[name], value[name], arrays) for name in kinds})
    if isinstance(value, dict):  # not by `kind`: what `NDArray` is to `typing` differs between versions of numpy
        return arrays[value[_ARRAY]]
    origin, members = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        each = members[0]
        return tuple(_unpack(each, member, arrays) for member in value)
    if type(None) in members:
        return None if value is None else _unpack(members[0], value, arrays)
    return value


def _arrays(descriptions: list[tuple[str, list[int]]], data: memoryview) -> list[npt.NDArray[Any]]:
    arrays, at = [], 0
    for dtype, shape in descriptions:
        count = int(np.prod(shape, dtype=np.int64))
        arrays.append(np.frombuffer(data, dtype, count, at).reshape(shape).copy())
        at += arrays[-1].nbytes
    return arrays
