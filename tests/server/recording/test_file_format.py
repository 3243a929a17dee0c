from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posewire_server.recording.file_format import Kind, NotARecording, begin, pack, records

PIECES = st.lists(st.tuples(st.sampled_from(Kind), st.floats(0, 1e6), st.binary(max_size=50)), max_size=6)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recordings") / "a.pwrec"


@given(pieces=PIECES, cut=st.integers(0, 400))
def test_a_file_is_readable_up_to_where_it_was_cut(
    file: Path, pieces: list[tuple[Kind, float, bytes]], cut: int
) -> None:
    packed = [pack(*piece) for piece in pieces]
    whole = begin() + b"".join(packed)
    file.write_bytes(whole[: len(begin()) + cut])
    remaining, expected = cut, []
    for piece, data in zip(pieces, packed, strict=True):
        remaining -= len(data)
        if remaining < 0:
            break
        expected.append(piece)
    assert [tuple(record) for record in records(file)] == expected


@given(pieces=PIECES.filter(bool), where=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_damage_is_never_taken_for_a_message(
    file: Path, pieces: list[tuple[Kind, float, bytes]], where: int, bit: int
) -> None:
    body = bytearray(b"".join(pack(*piece) for piece in pieces))
    body[where % len(body)] ^= 1 << bit
    file.write_bytes(begin() + body)
    payloads = [record.payload for record in records(file)]
    assert payloads == [piece[2] for piece in pieces][: len(payloads)]


def test_another_file_is_no_recording(tmp_path: Path) -> None:
    other = tmp_path / "video.mp4"
    other.write_bytes(b"\x00\x00\x00\x18ftypmp42")
    with pytest.raises(NotARecording, match="no recording"):
        list(records(other))
