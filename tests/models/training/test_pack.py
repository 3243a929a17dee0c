from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from posewire_models.training.pack import join, split


def test_parts_keep_the_limit_and_join_to_the_same_files(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(12):
        file = source / f"folder{number % 3}" / f"{number}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes([number]) * 10_000)
    (source / "link").symlink_to(source / "folder0")
    parts = split(source, tmp_path / "parts", limit_bytes=50_000)
    assert len(parts) > 2
    assert all(part.stat().st_size <= 50_000 for part in parts)
    assert join(tmp_path / "parts", tmp_path / "joined") == len(parts)
    packed = {str(file.relative_to(source)): file.read_bytes() for file in source.rglob("*.bin")}
    packed |= {f"link/{file.name}": file.read_bytes() for file in (source / "folder0").iterdir()}
    joined = tmp_path / "joined"
    assert {str(file.relative_to(joined)): file.read_bytes() for file in joined.rglob("*.bin")} == packed


def test_a_split_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    source, parts = tmp_path / "source", tmp_path / "parts"
    source.mkdir()
    for number in range(3):
        (source / f"{number}").write_bytes(bytes(30_000))
    assert len(split(source, parts, limit_bytes=50_000)) == 3
    (parts / "part-notes.tar").write_text("mine")  # which is none
    (source / "2").unlink()
    assert len(split(source, parts, limit_bytes=50_000)) == 2
    join(parts, tmp_path / "joined")
    assert sorted(file.name for file in (tmp_path / "joined").iterdir()) == ["0", "1"]
    assert (parts / "part-notes.tar").read_text() == "mine"
    (source / "2").write_bytes(bytes(60_000))
    before = {file: file.read_bytes() for file in parts.iterdir()}
    with pytest.raises(ValueError, match="alone is larger"):
        split(source, parts, limit_bytes=50_000)
    assert {file: file.read_bytes() for file in parts.iterdir()} == before


def test_what_cannot_be_joined_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no part-\*\.tar in .*nowhere"):
        join(tmp_path / "nowhere", tmp_path / "joined")
    (tmp_path / "part-00.tar").write_bytes(gzip.compress(bytes(20_000))[:20])  # compressed, and cut off
    with pytest.raises(ValueError, match=r"part-00\.tar is damaged"):
        join(tmp_path, tmp_path / "out")
    (tmp_path / "part-00.tar").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"part-00\.tar is damaged"):
        join(tmp_path, tmp_path / "joined")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x" * 60_000, "alone is larger than the limit"),
        (None, "no files under"),
    ],
)
def test_what_cannot_be_split_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    (tmp_path / "source").mkdir()
    if content:
        (tmp_path / "source" / "big").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        split(tmp_path / "source", tmp_path / "parts", limit_bytes=50_000)
