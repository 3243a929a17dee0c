"""The store: a name stands for whole weights or for none."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest

from posewire_models.choice import choose_networks
from posewire_models.published.errors import StoreError
from posewire_models.published.store import Store, default_folder
from posewire_models.whole_files import file_digest


def _add(store: Store, content: bytes = b"weights", name: str = "net") -> None:
    store.add(name, lambda path: path.write_bytes(content) and None, source="test", source_sha256="0" * 64)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_added_is_found(store: Store) -> None:
    assert store.find("net") is None
    _add(store)
    record = store.find("net")
    assert record is not None
    assert (record.name, record.bytes, record.source) == ("net", 7, "test")
    assert store.path(record).read_bytes() == b"weights"
    assert record.sha256 == file_digest(store.path(record))
    assert store.fault(record) == ""


def test_new_weights_take_the_place_of_the_old(store: Store) -> None:
    _add(store)
    _add(store, b"other", "net-2")
    _add(store, b"better")
    record = store.find("net")
    assert record is not None
    assert store.path(record).read_bytes() == b"better"
    assert len(_names(store.weights)) == 4  # two files of weights, two records
    assert store.find("net-2") is not None


def test_what_a_killed_process_left_is_taken_away(store: Store) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_add_and_be_killed, args=(str(store.folder),))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(_names(store.weights)) == 1
    _add(store, name="net-2")  # another name's, which may be in the making
    assert len(_names(store.weights)) == 3
    _add(store)
    assert [name for name in _names(store.weights) if name.endswith(".tmp")] == []


def _add_and_be_killed(folder: str) -> None:
    def write(path: Path) -> None:
        path.write_bytes(b"half of the wei")
        os.kill(os.getpid(), signal.SIGKILL)

    Store(Path(folder)).add("net", write, source="test", source_sha256="0" * 64)


def test_a_failure_leaves_what_was_there(store: Store) -> None:
    _add(store)
    before = _names(store.weights)

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match=r"No space left on device; make room there, or set POSEWIRE_CACHE"):
        store.add("net", fail, source="test", source_sha256="")
    assert _names(store.weights) == before


def test_weights_that_are_gone_are_not_found(store: Store) -> None:
    _add(store)
    record = store.find("net")
    assert record is not None
    store.path(record).unlink()
    assert store.find("net") is None
    assert store.record("net") == record
    assert "cannot be read" in store.fault(record)


def test_damage_is_found(store: Store) -> None:
    _add(store)
    record = store.find("net")
    assert record is not None
    store.path(record).write_bytes(b"weighty")
    assert "SHA-256 is " in store.fault(record)
    text = (store.weights / "net.json").read_text()
    for name in ("../../x", "a\0b", "\ud800", "x" * 256):
        (store.weights / "net.json").write_text(json.dumps(json.loads(text) | {"file": f"{name}.safetensors"}))
        with pytest.raises(StoreError, match=r"net\.json is damaged .* must be a plain name.*delete it"):
            store.find("net")
    (store.weights / "net.json").write_text("[" * 100_000)
    with pytest.raises(StoreError, match=r"net\.json is damaged .*delete it"):
        store.find("net")


@pytest.mark.parametrize(
    ("digest", "message"),
    [
        ("abc", "sha256 'abc' must be 64 hexadecimal digits"),  # cut short
        ("g" * 64, "must be 64 hexadecimal digits"),
        (7, "record: sha256: expected"),
    ],
)
def test_a_record_whose_digest_is_none_is_damaged(digest: object, message: str, store: Store) -> None:
    _add(store)
    path = store.weights / "net.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": digest}))
    with pytest.raises(StoreError, match=rf"net\.json is damaged .*{message}.*delete it") as raised:
        store.find("net")
    assert str(raised.value).count("net.json") == 1


def test_a_record_that_cannot_be_read_is_told(store: Store) -> None:
    (store.weights / "net.json").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"net\.json cannot be read: Is a directory"):
        store.find("net")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file")
    assert store.find("net") is None
    with pytest.raises(StoreError, match="POSEWIRE_CACHE"):
        _add(store)
    with pytest.raises(StoreError, match="POSEWIRE_CACHE"), store.locked("net"):
        pass


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"POSEWIRE_CACHE": "/a/b", "XDG_CACHE_HOME": "/c"}, Path("/a/b")),
        ({"XDG_CACHE_HOME": "/c"}, Path("/c/posewire")),
        ({"XDG_CACHE_HOME": "relative"}, Path.home() / ".cache" / "posewire"),  # as the XDG specification has it
        ({}, Path.home() / ".cache" / "posewire"),
    ],
)
def test_the_folder_is_the_user_s_choice(environment: dict[str, str], folder: Path) -> None:
    assert default_folder(environment) == folder


def test_a_home_that_nobody_has_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match=r"no home folder.*set POSEWIRE_CACHE"):
        default_folder({"POSEWIRE_CACHE": "~nobody-of-that-name/weights"})

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(StoreError, match=r"no home folder.*set POSEWIRE_CACHE"):
        default_folder({})
    monkeypatch.delenv("POSEWIRE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    store = Store()
    choose_networks("nano", device="cpu", store=store)  # its weights are part of the package
    with pytest.raises(StoreError, match=r"no home folder.*set POSEWIRE_CACHE"):
        store.find("pose-r50-coco")


def test_two_threads_or_processes_do_not_fetch_the_same_at_once(store: Store) -> None:
    order: list[str] = []
    waits = threading.Event()

    def second() -> None:
        with store.locked("net", waits.set):
            order.append("second")

    with store.locked("net"):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(30)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_the_right_to_fetch_ends_with_its_process(store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    holds = context.Event()
    process = context.Process(target=_hold_for_ever, args=(str(store.folder), holds))
    process.start()
    try:
        assert holds.wait(60)
        process.kill()
        with store.locked("net"):  # would wait for ever
            pass
    finally:
        process.kill()
        process.join()


def _hold_for_ever(folder: str, holds: threading.Event) -> None:
    with Store(Path(folder)).locked("net"):
        holds.set()
        threading.Event().wait()
