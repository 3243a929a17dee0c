"""Keys, certificates, tokens and settings: one of the wrong files must not fill the memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from posewire import TlsSettings
from posewire._channels.access_tokens import read_token
from posewire._channels.tls_files import TlsFiles
from posewire.small_files import read_small_file
from posewire_server.admission.tls import server_credentials
from posewire_server.admission.tokens import TokenFile, append_line
from posewire_server.config import SecurityConfig
from posewire_server.configuration import load_config
from posewire_server.streams.snapshots import load_key

_MOST_BYTES = 16 * 2**20


def _of_size(file: Path, size: int) -> Path:
    with file.open("wb") as output:
        output.truncate(size)
    return file


def test_16_mib_are_still_small(tmp_path: Path) -> None:
    assert len(read_small_file(_of_size(tmp_path / "file", _MOST_BYTES))) == _MOST_BYTES


@pytest.mark.parametrize(
    "use",
    [
        TokenFile,
        lambda file: append_line(file, "door"),
        load_key,
        lambda file: load_config(file=file),
        lambda file: server_credentials(SecurityConfig(tls_cert=file, tls_key=file)),
        lambda file: TlsFiles(TlsSettings(ca=file)).credentials(),
        read_token,
    ],
)
def test_a_file_without_end_is_named(use: Callable[[Path], object], tmp_path: Path) -> None:
    file = _of_size(tmp_path / "endless", _MOST_BYTES + 1)
    with pytest.raises(ValueError, match=f"{file}.* it has more than 16 MiB"):
        use(file)
