from __future__ import annotations

from pathlib import Path

from posewire.file_changes import FileChanges


def test_a_change_happens_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    changes = FileChanges([file, tmp_path / "other"])
    assert not changes.happened()
    for change in (
        lambda: file.write_text("first"),
        lambda: file.write_text("longer"),
        lambda: file.rename(tmp_path / "other"),
        lambda: (tmp_path / "other").unlink(),
    ):
        change()
        assert changes.happened()
        assert not changes.happened()


def test_who_may_read_it_is_part_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    changes, before_ns = FileChanges([file]), file.stat().st_ctime_ns
    while file.stat().st_ctime_ns == before_ns:  # clocks of file systems are coarse
        file.chmod(0o600)
    assert changes.happened()


def test_a_change_that_could_not_be_read_stays_one(tmp_path: Path) -> None:
    file = tmp_path / "file"
    changes = FileChanges([file])
    file.write_text("text")
    assert changes.happened()
    assert changes.unread("too many open files")
    assert changes.happened()
    assert not changes.unread("too many open files")  # as before
    assert changes.happened()
    assert not changes.happened()  # now it was read
    file.unlink()
    assert changes.happened()
    assert changes.unread("too many open files")  # of another change
