"""JSON files from other programs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from posewire.json_files import read_json


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_what_json_may_be_written_in(encoding: str, tmp_path: Path) -> None:
    content = {"file_name": "ä.jpg", "ids": [1, 2]}
    (tmp_path / "a.json").write_text(json.dumps(content, ensure_ascii=False), encoding=encoding)
    assert read_json(tmp_path / "a.json") == content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b'"\xff"', "it is not text in UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b"1" * 10_000, "digits"),
        (gzip.compress(b"{}", mtime=0), "compressed with gzip; unpack it first"),
    ],
)
def test_what_is_no_json_is_a_value_error(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_json(tmp_path / "a.json")
