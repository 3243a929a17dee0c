"""JSON files from other programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from posewire.json_files import read_json


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_what_json_may_be_written_in(encoding: str, tmp_path: Path) -> None:
    content = {"file_name": "ä.jpg", "ids": [1, 2]}
    (tmp_path / "a.json").write_text(json.dumps(content, ensure_ascii=False), encoding=encoding)
    assert read_json(tmp_path / "a.json") == content


@pytest.mark.parametrize("content", [b"", b"{", b'"\xff"', b"[" * 200_000, b'{"a":' * 200_000, b"1" * 10_000])
def test_what_is_no_json_is_a_value_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        read_json(tmp_path / "a.json")
