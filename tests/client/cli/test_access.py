"""What the flags for credentials become."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from posewire.cli.access import access_given, with_access_flags


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_a_token_stays_in_its_file_unless_that_can_be_read_only_once(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret\n")
    reading, writing = os.pipe()
    os.write(writing, b"secret\n")
    os.close(writing)
    given = file if kind == "file" else Path(f"/dev/fd/{reading}")
    try:
        tokens: list[str | Path] = []
        command = with_access_flags(lambda: tokens.append(access_given("a").token))
        command(tls=False, ca=None, cert=None, key=None, token_file=given, insecure=False)
    finally:
        os.close(reading)
    assert tokens == [file if kind == "file" else "secret"]
