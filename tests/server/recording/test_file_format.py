from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posewire_server.recording.file_format import MAGIC, DamagedRecording, Kind, NotARecording, Record, pack, records

PIECES = st.lists(st.tuples(st.sampled_from(Kind), st.floats(0, 1e6), st.binary(max_size=50)), max_size=6)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recordings") / "a.pwrec"


@given(pieces=PIECES, cut=st.integers(0, 400))
def test_a_file_is_readable_up_to_where_it_was_cut(
    file: Path, pieces: list[tuple[Kind, float, bytes]], cut: int
) -> None:
    packed = [pack(*piece) for piece in pieces]
    whole = MAGIC + b"".join(packed)
    file.write_bytes(whole[: len(MAGIC) + cut])
    remaining, expected = cut, []
    for piece, data in zip(pieces, packed, strict=True):
        remaining -= len(data)
        if remaining < 0:
            break
        expected.append(piece)
    assert [record[:3] for record in records(file)] == expected


@given(pieces=PIECES.filter(bool), where=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_damaged_record_is_read(file: Path, pieces: list[tuple[Kind, float, bytes]], where: int, bit: int) -> None:
    body = bytearray(b"".join(pack(*piece) for piece in pieces))
    body[where % len(body)] ^= 1 << bit
    file.write_bytes(MAGIC + body)
    whole = [record[:3] for record in up_to_damage(file)[0]]
    assert whole == pieces[: len(whole)]
    assert len(whole) < len(pieces)


def test_files_of_version_1_are_read(file: Path) -> None:
    """Their checksums are of the payloads alone."""
    record = struct.pack("<BIdI", Kind.REQUEST, 3, 1.5, zlib.crc32(b"abc")) + b"abc"
    file.write_bytes(b"posewire recording 1\n" + record)
    assert [record[:3] for record in records(file)] == [(Kind.REQUEST, 1.5, b"abc")]
    file.write_bytes(b"posewire recording 1\n" + record[:-1] + b"d")
    assert up_to_damage(file)[1] is not None


@pytest.mark.parametrize(
    ("at", "value", "what"),
    [
        (0, 9, "no record"),  # the kind: of no record
        (0, Kind.RESPONSE, "checksum"),  # the kind: another one
        (4, 0x90, "no record"),  # the length: more than any record has
        (1, 2, "checksum"),  # the length: another one
        (5, 9, "checksum"),  # the time
        (13, 0, "checksum"),
        (17, 0, "checksum"),  # the payload
    ],
)
def test_damage_is_told_with_its_place(file: Path, at: int, value: int, what: str) -> None:
    first = pack(Kind.HEADER, 0, b"{}")
    second = bytearray(pack(Kind.REQUEST, 1, b"abc"))
    second[at] = value
    file.write_bytes(MAGIC + first + second + pack(Kind.END, 2, b"{}"))
    whole, damage = up_to_damage(file)
    assert [record.kind for record in whole] == [Kind.HEADER]
    assert damage is not None
    assert damage.offset == len(MAGIC + first)
    assert f"damaged at byte {damage.offset}: " in str(damage)
    assert what in str(damage)


def up_to_damage(file: Path) -> tuple[list[Record], DamagedRecording | None]:
    whole: list[Record] = []
    try:
        whole.extend(records(file))
    except DamagedRecording as damage:
        return whole, damage
    return whole, None


def test_another_file_is_no_recording(tmp_path: Path) -> None:
    other = tmp_path / "video.mp4"
    other.write_bytes(b"\x00\x00\x00\x18ftypmp42")
    with pytest.raises(NotARecording, match="not a recording"):
        list(records(other))
