"""Downloads: whole and right or not at all, going on where they broke off, with every kind of server."""

from __future__ import annotations

import errno
import hashlib
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from posewire_models.published.download import FetchSettings, discard, fetch
from posewire_models.published.errors import DownloadError
from tests.models.published.web import Web

CONTENT = bytes(range(256)) * 20_000  # five pieces
DIGEST = hashlib.sha256(CONTENT).hexdigest()
ONCE = FetchSettings(attempts=1)
PATIENT = FetchSettings(attempts=3, retry_wait_s=0.0)


@pytest.fixture
def served(web: Web) -> Web:
    web.files["/w.pth"] = CONTENT
    web.versions["/w.pth"] = '"one"'
    return web


def _broken_off(web: Web, path: Path, after: int = 3_000_000, **options: Any) -> None:
    """Leave a beginning at `path`, as a connection that was cut does."""
    web.cut_after.append(after)
    with pytest.raises(DownloadError, match=r"broke off.*the same command goes on from there"):
        fetch(web.address("/w.pth"), path, settings=ONCE, **options)
    assert path.stat().st_size == after


def test_a_file_arrives_whole_and_its_progress_is_told(served: Web, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    digest = fetch(
        served.address("/w.pth"),
        tmp_path / "w",
        sha256_prefix=DIGEST[:8],
        progress=lambda done, total: told.append((done, total)),
    )
    assert digest == DIGEST
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    discard(tmp_path / "w")
    assert not list(tmp_path.iterdir())


def test_the_rest_is_fetched_after_an_interruption(served: Web, tmp_path: Path) -> None:
    _broken_off(served, tmp_path / "w")
    assert fetch(served.address("/w.pth"), tmp_path / "w", settings=ONCE) == DIGEST
    assert served.asked_ranges == ["", "bytes=3000000-"]
    assert served.requests[-1]["If-Range"] == '"one"'


def test_one_call_makes_several_attempts(served: Web, tmp_path: Path) -> None:
    served.cut_after += [1_000_000, 2_000_000]
    served.answers.append(503)
    assert fetch(served.address("/w.pth"), tmp_path / "w", settings=FetchSettings(retry_wait_s=0.0)) == DIGEST
    assert served.asked_ranges == ["", "", "bytes=1000000-", "bytes=3000000-"]


@pytest.mark.parametrize("chunked", [True, False])
def test_attempts_that_get_further_are_not_counted(chunked: bool, served: Web, tmp_path: Path) -> None:
    served.chunked = chunked  # then each line breaks within a piece that it announced, which is kept
    served.cut_after += [900_000] * 5
    assert fetch(served.address("/w.pth"), tmp_path / "w", settings=PATIENT) == DIGEST
    assert len(served.requests) == 6


def test_an_outage_in_the_middle_is_waited_for(
    served: Web, unused_tcp_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second connection fails, as it does while a line or a server comes back; the third one is made."""
    for each in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(each, raising=False)
    nowhere = iter([f"http://127.0.0.1:{unused_tcp_port}", ""])
    monkeypatch.setattr("time.sleep", lambda _: monkeypatch.setenv("http_proxy", next(nowhere)))
    served.cut_after.append(3_000_000)
    assert fetch(served.address("/w.pth"), tmp_path / "w", settings=PATIENT) == DIGEST
    assert served.asked_ranges == ["", "bytes=3000000-"]


def test_a_line_that_always_breaks_at_the_same_place_is_given_up(served: Web, tmp_path: Path) -> None:
    served.ranges = False
    served.cut_after += [900_000] * 9
    with pytest.raises(DownloadError, match=r"broke off \(after 900000 of 5120000 bytes\)"):
        fetch(served.address("/w.pth"), tmp_path / "w", settings=PATIENT)
    assert len(served.requests) == PATIENT.attempts


@pytest.mark.parametrize("total_told", [True, False])
def test_a_server_may_send_less_of_a_range_than_was_asked_for(total_told: bool, served: Web, tmp_path: Path) -> None:
    _broken_off(served, tmp_path / "w")
    served.most_of_a_range, served.total_told = 1_500_000, total_told
    assert fetch(served.address("/w.pth"), tmp_path / "w", settings=ONCE) == DIGEST
    ends = [] if total_told else ["bytes=5120000-"]  # answered by 416
    assert served.asked_ranges == ["", "bytes=3000000-", "bytes=4500000-", *ends]


@pytest.mark.parametrize(
    "told",
    ["bytes 3000000-2999999/5120000", "bytes 3000000-5120000/5120000", "bytes 0-5119999/5120000", "pages 1-2", "\xb2"],
)
def test_parts_that_make_no_sense_are_not_joined(told: str, served: Web, tmp_path: Path) -> None:
    _broken_off(served, tmp_path / "w")
    served.headers["Content-Range"] = told
    assert fetch(served.address("/w.pth"), tmp_path / "w", settings=ONCE) == DIGEST
    assert served.asked_ranges == ["", "bytes=3000000-", ""]


@pytest.mark.parametrize("told", ["\xb2", "many", "-1", "9" * 5000])
def test_a_length_that_is_no_number_is_none(told: str, served: Web, tmp_path: Path) -> None:
    served.headers["Content-Length"] = told
    assert fetch(served.address("/w.pth"), tmp_path / "w", settings=ONCE) == DIGEST


@pytest.mark.parametrize("version", ['"one"', None])
def test_a_server_without_ranges_sends_everything_again(version: str | None, served: Web, tmp_path: Path) -> None:
    served.ranges = False
    if version is None:
        del served.versions["/w.pth"]
    _broken_off(served, tmp_path / "w", sha256_prefix=DIGEST[:8])
    assert fetch(served.address("/w.pth"), tmp_path / "w", sha256_prefix=DIGEST[:8], settings=ONCE) == DIGEST


@pytest.mark.parametrize("conditions", [True, False])  # some servers know ranges, but not If-Range
def test_another_version_is_fetched_from_its_start(conditions: bool, served: Web, tmp_path: Path) -> None:
    served.conditions = conditions
    _broken_off(served, tmp_path / "w")
    served.files["/w.pth"] = new = bytes(reversed(CONTENT))
    served.versions["/w.pth"] = '"two"'
    fetch(served.address("/w.pth"), tmp_path / "w", settings=ONCE)
    assert (tmp_path / "w").read_bytes() == new


def test_a_mixture_of_versions_is_found_by_its_digest(served: Web, tmp_path: Path) -> None:
    del served.versions["/w.pth"]  # nothing tells the server's second version from its first
    served.files["/w.pth"] = bytes(reversed(CONTENT))
    _broken_off(served, tmp_path / "w", sha256_prefix=DIGEST[:8])
    served.files["/w.pth"] = CONTENT
    assert fetch(served.address("/w.pth"), tmp_path / "w", sha256_prefix=DIGEST[:8], settings=ONCE) == DIGEST
    assert served.asked_ranges == ["", "bytes=3000000-", ""]


def test_without_version_and_digest_nothing_is_joined(served: Web, tmp_path: Path) -> None:
    del served.versions["/w.pth"]
    _broken_off(served, tmp_path / "w")
    assert fetch(served.address("/w.pth"), tmp_path / "w", settings=ONCE) == DIGEST
    assert served.asked_ranges == ["", ""]


def test_the_beginning_of_another_address_is_not_gone_on_with(served: Web, tmp_path: Path) -> None:
    _broken_off(served, tmp_path / "w")
    served.files["/other.pth"] = b"other"
    fetch(served.address("/other.pth"), tmp_path / "w", settings=ONCE)
    assert (tmp_path / "w").read_bytes() == b"other"


def test_what_is_complete_is_not_fetched_again(served: Web, tmp_path: Path) -> None:
    for _ in range(2):
        assert fetch(served.address("/w.pth"), tmp_path / "w", settings=ONCE) == DIGEST
    assert served.asked_ranges == ["", f"bytes={len(CONTENT)}-"]  # answered by 416


def test_more_than_the_server_has_is_worth_nothing(served: Web, tmp_path: Path) -> None:
    _broken_off(served, tmp_path / "w")
    served.files["/w.pth"] = CONTENT[:1000]  # 416, of another length
    fetch(served.address("/w.pth"), tmp_path / "w", settings=ONCE)
    assert (tmp_path / "w").read_bytes() == CONTENT[:1000]


def test_a_wrong_digest_leaves_nothing(served: Web, tmp_path: Path) -> None:
    path = tmp_path / "downloads" / "w"
    path.parent.mkdir()
    with pytest.raises(DownloadError, match=rf"damaged or another file.*{DIGEST[:16]}, not with 00000000"):
        fetch(served.address("/w.pth"), path, sha256_prefix="00000000", settings=ONCE)
    assert list(path.parent.iterdir()) == []


def test_a_server_that_is_not_there_is_named(tmp_path: Path, web: Web) -> None:
    address = web.address("/w.pth").replace("127.0.0.1", "host.invalid")
    with pytest.raises(DownloadError, match=r"cannot reach http://host\.invalid.*/w\.pth: "):
        fetch(address, tmp_path / "w", settings=PATIENT)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/w.pth"
    with pytest.raises(DownloadError, match=r"cannot reach .*/w\.pth: Connection refused$"):
        fetch(address, tmp_path / "w", settings=PATIENT)


def test_a_server_that_is_overloaded_is_asked_again(served: Web, tmp_path: Path) -> None:
    served.answers += [503, 429, 503]
    with pytest.raises(DownloadError, match=r"broke off \(the server answers 503 .*\); nothing has arrived yet; try"):
        fetch(served.address("/w.pth"), tmp_path / "w", settings=ONCE)
    assert fetch(served.address("/w.pth"), tmp_path / "w", settings=PATIENT) == DIGEST


@pytest.mark.parametrize(
    "address",
    [
        "mirror.local/weights/w.pth",
        "ftp://mirror.local/w",
        "https:///w",
        "http://h:port/w",
        "http://[::1/w",
        "http://h/a b",
        "http://h/a\nb",
    ],
)
def test_what_is_no_address_is_said_with_one_that_is(address: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"looks like https://mirror\.example/weights"):
        fetch(address, tmp_path / "w", settings=PATIENT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/w\xebights", "http://mirr\xf6r.invalid/w"])
def test_letters_that_no_address_may_have_are_told(address: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"percent-encoding \(%C3%A9\), those of a host in Punycode"):
        fetch(address, tmp_path / "w", settings=PATIENT)


@pytest.mark.parametrize("user", ["bob:secret@", "secret@", "secret:@"])
def test_a_password_in_an_address_is_neither_sent_anywhere_nor_shown(
    user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be looked up as a part of the host's name."""
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("something was looked up"))
    with pytest.raises(DownloadError, match=r"mirror\.invalid has a user name.*posewire models convert") as caught:
        fetch(f"https://{user}mirror.invalid/w", tmp_path / "w", settings=PATIENT)
    assert "secret" not in str(caught.value)


def test_a_refusal_is_told(web: Web, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"refuses http.*absent\.pth: 404"):
        fetch(web.address("/absent.pth"), tmp_path / "w", settings=PATIENT)
    assert len(web.requests) == 1  # asking again would not help


@pytest.mark.parametrize("length_told", [True, False])
def test_a_file_that_is_far_too_large_is_not_taken(length_told: bool, served: Web, tmp_path: Path) -> None:
    served.length_told = length_told
    with pytest.raises(DownloadError, match=r"more than 2\.0 MB: not the file that is meant"):
        fetch(served.address("/w.pth"), tmp_path / "w", max_bytes=2_000_000, settings=ONCE)
    assert not (tmp_path / "w").exists()


def test_a_disk_without_room_is_found_before(served: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(DownloadError, match=r"no room for http.*5\.1 MB are needed.*POSEWIRE_CACHE"):
        fetch(served.address("/w.pth"), tmp_path / "w", settings=ONCE)


def test_a_disk_that_fills_up_is_told(served: Web, tmp_path: Path) -> None:
    def full(done: int, total: int | None) -> None:
        if done > 2_000_000:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DownloadError, match=r"cannot write .*No space left on device; make room"):
        fetch(served.address("/w.pth"), tmp_path / "w", progress=full, settings=PATIENT)


def test_redirections_are_followed_on_the_web_only(served: Web, tmp_path: Path) -> None:
    served.redirects |= {"/old.pth": "/w.pth", "/bad.pth": "ftp://127.0.0.1/w.pth", "/worse.pth": "http://[bad/x"}
    assert fetch(served.address("/old.pth"), tmp_path / "w", settings=ONCE) == DIGEST
    with pytest.raises(DownloadError, match="not safe; not followed"):
        fetch(served.address("/bad.pth"), tmp_path / "v", settings=ONCE)
    with pytest.raises(DownloadError, match=r"cannot reach http://.*/worse\.pth: Invalid IPv6 URL"):
        fetch(served.address("/worse.pth"), tmp_path / "v", settings=ONCE)


def test_what_comes_along_with_a_redirection_is_not_read(served: Web, tmp_path: Path) -> None:
    """It may be endless, and would be held in memory."""
    served.redirects["/old.pth"] = "/w.pth"
    served.redirect_body = b"x" * (1 << 25)
    assert fetch(served.address("/old.pth"), tmp_path / "w", settings=ONCE) == DIGEST
    assert "whole" not in served.requests[0]


def test_what_a_server_says_is_told_in_one_line(served: Web, tmp_path: Path) -> None:
    served.redirects["/circle.pth"] = "/circle.pth"
    served.raw += [b"\x00\x1b[31mgarbage\r\n\r\n"]
    for path, why in (("/w.pth", "cannot reach .*: .*garbage"), ("/circle.pth", "refuses .*: 302 .*infinite loop")):
        with pytest.raises(DownloadError, match=why) as raised:
            fetch(served.address(path), tmp_path / "w", settings=ONCE)
        assert str(raised.value).isprintable()


@pytest.mark.parametrize("settings", [{"attempts": 0}, {"timeout_s": 0}, {"retry_wait_s": -1}])
def test_bad_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="attempts at least 1"):
        FetchSettings(**settings)
