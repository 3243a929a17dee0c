from __future__ import annotations

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
