from __future__ import annotations

import json
import logging
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from posewire_server.admission import tokens as tokens_module
from posewire_server.admission.tokens import ANYBODY, Caller, TokenFile, TokenGrant, append_line, new_token
from posewire_server.config import LimitsConfig
from posewire_server.errors import NotAuthenticated
from posewire_server.observability.logs import JsonFormatter, current_stream

_HASH = "0" * 64


def _file(folder: Path, *lines: str) -> Path:
    file = folder / "tokens"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.mark.parametrize(
    "grant",
    [
        TokenGrant("door"),
        TokenGrant("Front-door.2_a", streams=4, fps=12.5, pixels=1920 * 1080, admin=True),
        TokenGrant("boss", admin=True),
        TokenGrant("much", fps=1_000_000.0),
        TokenGrant("many", streams=1_000_000, fps=1_234_567.5, pixels=10**12),
    ],
)
def test_a_new_token_is_known_with_what_it_allows(tmp_path: Path, grant: TokenGrant) -> None:
    token, line = new_token(grant)
    # As Notepad writes it.
    caller = TokenFile(_file(tmp_path, "\ufeff# our tokens\r", "\r", f"{line}\r")).caller_of(f"Bearer {token}")
    assert caller.grant == grant
    assert token not in line
    assert len(token) > 40


def test_no_two_tokens_are_alike() -> None:
    assert new_token(TokenGrant("a"))[0] != new_token(TokenGrant("a"))[0]


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Basic {}", "{}", "Bearer x{}", "Bearer {}x", f"Bearer {'x' * 9999}"]
)
def test_what_is_no_known_token(tmp_path: Path, authorization: str) -> None:
    token, line = new_token(TokenGrant("door"))
    with pytest.raises(NotAuthenticated) as caught:
        TokenFile(_file(tmp_path, line)).caller_of(authorization.format(token))
    assert token not in caught.value.message


def test_the_hash_itself_opens_nothing(tmp_path: Path) -> None:
    _, line = new_token(TokenGrant("door"))
    name, digest = line.split(":")  # unless it is asked for, a token has no limit, and its holder is no admin
    assert name == "door"
    with pytest.raises(NotAuthenticated):
        TokenFile(_file(tmp_path, line)).caller_of(f"Bearer {digest}")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("pwt_thetokenitself", "SHA-256 of the token"),
        ("door:pwt_thetokenitself", "SHA-256 of the token"),
        (f"do or:{_HASH}", "1 to 64 letters"),
        (f"door:{_HASH}:speed=3", "'speed=3' is not a limit"),
        (f"door:{_HASH}:streams=many", "not a number"),
        (f"door:{_HASH}:streams=0", "would allow nothing"),
        (f"door:{_HASH}:fps=nan", "would allow nothing"),
        (f"door:{_HASH}:fps=inf", r"fps is inf; it must be above 0 and at most 1000000000000, or be left out"),
        (f"door:{_HASH}:pixels=1023", r"line 1 of .*pixels is 1023; it must lie in 1024\.\."),
        (f"door:{_HASH}:admin=yes", "is not a limit"),
        (f"door:{_HASH}:streams", "is not a limit"),
        (f"door:{_HASH}\nyard:{_HASH}", "line 2 of .* twice"),  # one token for two
        (f"door:{_HASH}\ndoor:{'1' * 64}", "line 2 of .* twice"),  # one name for two
    ],
)
def test_lines_that_cannot_be_used(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        TokenFile(_file(tmp_path, line))
    assert "thetoken" not in str(caught.value)  # put there by mistake, it must not go on into logs


def test_that_the_file_was_read_again_is_not_said_of_the_stream_that_looked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(caplog.handler, "formatter", JsonFormatter())
    token, line = new_token(TokenGrant("door"))
    file = _file(tmp_path, line)
    known = TokenFile(file)
    looking = current_stream.set("1a2b3c4d")
    try:
        append_line(file, new_token(TokenGrant("gate"))[1])
        known.caller_of(f"Bearer {token}")
        _file(tmp_path, "broken")
        known.caller_of(f"Bearer {token}")
    finally:
        current_stream.reset(looking)
    again, broken = map(json.loads, caplog.text.splitlines())
    assert "read again" in again["message"]
    assert "cannot be used" in broken["message"]
    assert "stream" not in again.keys() | broken.keys()


def test_a_changed_file_counts_and_a_broken_one_does_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    first, first_line = new_token(TokenGrant("first", fps=5))
    second, second_line = new_token(TokenGrant("second"))
    file = _file(tmp_path, first_line)
    tokens = TokenFile(file)
    caller = tokens.caller_of(f"Bearer {first}")
    append_line(file, second_line)
    assert tokens.caller_of(f"Bearer {second}").name == "second"
    assert tokens.caller_of(f"Bearer {first}") is caller  # with what it has used up of its rate
    file.unlink()
    assert tokens.caller_of(f"Bearer {first}") is caller
    _written_s_ago(_file(tmp_path, second_line), 10)
    with pytest.raises(NotAuthenticated):
        tokens.caller_of(f"Bearer {first}")
    assert "cannot be used" in caplog.text


@pytest.mark.parametrize("age_s", [10, -1e6])  # the latter: of a clock that was wrong
@pytest.mark.parametrize("half", ["", "{new}\n", "{new}\n{line}"], ids=["empty", "without its line", "limits cut off"])
def test_a_file_that_is_half_written_takes_nothing_from_anybody(tmp_path: Path, half: str, age_s: float) -> None:
    token, line = new_token(TokenGrant("door", fps=30))
    new, new_line = new_token(TokenGrant("new"))
    file = _file(tmp_path, line)
    tokens = TokenFile(file)
    caller = tokens.caller_of(f"Bearer {token}")
    file.write_text(half.format(new=new_line, line=line.removesuffix("0")))
    assert tokens.caller_of(f"Bearer {token}") is caller
    assert not caller.has_changed()
    if half:
        assert tokens.caller_of(f"Bearer {new}") is tokens.caller_of(f"Bearer {new}")
    file.write_text(f"{line}\n")
    assert tokens.caller_of(f"Bearer {token}") is caller
    file.write_text("")
    assert tokens.caller_of(f"Bearer {token}") is caller
    _written_s_ago(file, age_s)
    with pytest.raises(NotAuthenticated):  # now it is meant
        tokens.caller_of(f"Bearer {token}")


def _written_s_ago(file: Path, age_s: float) -> None:
    written_s = time.time() - age_s
    os.utime(file, (written_s, written_s))


def test_a_changed_file_that_cannot_be_read_is_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A withdrawn token must not stay good because the file was unreadable when it was withdrawn."""
    withdrawn, withdrawn_line = new_token(TokenGrant("first"))
    _, line = new_token(TokenGrant("second"))
    tokens = TokenFile(_file(tmp_path, withdrawn_line, line))
    _written_s_ago(_file(tmp_path, line), 10)

    def unreadable(_: Path) -> str:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(tokens_module, "read_small_text", unreadable)
        for _ in range(3):
            assert tokens.caller_of(f"Bearer {withdrawn}").name == "first"
    assert caplog.text.count(f"the tokens stay as they were: {tmp_path / 'tokens'}: Permission denied") == 1
    with pytest.raises(NotAuthenticated):
        tokens.caller_of(f"Bearer {withdrawn}")


def test_a_file_that_goes_while_it_is_read_leaves_the_tokens_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, line = new_token(TokenGrant("door"))
    file = _file(tmp_path, line)
    tokens = TokenFile(file)
    file.write_text("")

    def read_and_gone(path: Path) -> str:
        path.unlink()
        return ""

    with monkeypatch.context() as patch:
        patch.setattr(tokens_module, "read_small_text", read_and_gone)
        assert tokens.caller_of(f"Bearer {token}").name == "door"


def test_what_came_through_a_pipe_is_not_read_again(tmp_path: Path) -> None:
    """As with `--tokens <(command)`: by then it is empty."""
    token, line = new_token(TokenGrant("door"))
    reader, writer = os.pipe()
    os.write(writer, line.encode())
    os.close(writer)
    tokens = TokenFile(Path(f"/dev/fd/{reader}"))
    os.utime(reader, (0, 0))
    assert tokens.caller_of(f"Bearer {token}").name == "door"
    os.close(reader)


def test_a_new_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    append_line(file, new_token(TokenGrant("door"))[1])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(ValueError, match="has a token named 'door'"):
        append_line(file, new_token(TokenGrant("door"))[1])


def test_a_line_is_added_below_one_without_an_end(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(new_token(TokenGrant("door"))[1])
    append_line(file, new_token(TokenGrant("yard"))[1])
    assert [line.split(":")[0] for line in file.read_text().splitlines()] == ["door", "yard"]


def test_two_who_add_a_token_at_once_do_it_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else there would be two of one name, and no server would take the file, or one line would be lost."""
    file = tmp_path / "tokens"
    read, refused, is_done = tokens_module._read, [], threading.Event()

    def add_another() -> None:
        try:
            append_line(file, new_token(TokenGrant("door"))[1])
        except ValueError as error:
            refused.append(str(error))
        is_done.set()

    other = threading.Thread(target=add_another)

    def read_slowly(path: Path) -> dict[str, TokenGrant]:
        grants = read(path)
        if threading.current_thread() is not other:
            other.start()
            is_done.wait(0.2)
        return grants

    with monkeypatch.context() as patch:
        patch.setattr(tokens_module, "_read", read_slowly)
        append_line(file, new_token(TokenGrant("door"))[1])
        other.join()
    assert len(refused) == 1
    TokenFile(file)


def test_limits_of_a_token_only_narrow_those_of_the_server() -> None:
    limits = LimitsConfig(max_frame_pixels=10_000)
    assert Caller(TokenGrant("a", pixels=5_000)).within(limits).max_frame_pixels == 5_000
    assert Caller(TokenGrant("a", pixels=50_000)).within(limits).max_frame_pixels == 10_000
    assert ANYBODY.within(limits) is limits


def test_the_least_number_of_pixels_is_one_that_a_server_can_have() -> None:
    limits = Caller(TokenGrant("a", pixels=1024)).within(LimitsConfig())
    assert limits.max_frame_pixels == 1024
    with pytest.raises(ValueError, match=r"720; it must lie in 1024\.\..*left out"):
        TokenGrant("a", pixels=720)
