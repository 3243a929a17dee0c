"""Training data in parts of limited size, for machines that limit the size of transferred files.

    python -m posewire_models.training.pack split SOURCE PARTS --limit-mb 60
    python -m posewire_models.training.pack join PARTS DESTINATION

`split` writes `part-00.tar`, `part-01.tar` ... with whole files; `join` unpacks the parts that are there, so that they
may arrive one after another.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from posewire_models.training.failures import expected_failures
from posewire_models.whole_files import replacing

__all__ = ["join", "main", "split"]

_BLOCK = 512
_PART = re.compile(r"part-\d{2,}\.tar")


def split(source: Path, parts: Path, limit_bytes: int) -> list[Path]:
    """Put all files under `source` into tar files of at most `limit_bytes` in `parts`; links are followed.

    Parts of an earlier split are removed: with them, `join` would restore files that are no longer in `source`.

    Raises:
        ValueError: a single file exceeds the limit, or there are no files.
    """
    groups = list(_grouped(source, limit_bytes))  # nothing is written unless all fits
    if not groups:
        raise ValueError(f"there are no files under {source}")
    parts.mkdir(parents=True, exist_ok=True)
    written = []
    for number, files in enumerate(groups):
        path = parts / f"part-{number:02d}.tar"
        with replacing(path) as unfinished, tarfile.open(unfinished, "w", dereference=True) as archive:
            for file in files:
                archive.add(file, file.relative_to(source))
        written.append(path)
    for path in _parts_in(parts):
        if path not in written:
            path.unlink()
    return written


def join(parts: Path, destination: Path) -> int:
    """Unpack all `part-*.tar` in `parts` into `destination`; returns their number.

    Raises:
        ValueError: there are none, or one is damaged.
    """
    archives = _parts_in(parts)
    if not archives:
        raise ValueError(f"there is no part-*.tar in {parts}")
    for path in archives:
        try:
            with tarfile.open(path, "r:") as archive:
                archive.extractall(destination, filter="data")  # rejects absolute paths and paths outside the folder
        except tarfile.TarError as error:
            raise ValueError(f"{path} is damaged: {error}") from error
    return len(archives)


def _parts_in(folder: Path) -> list[Path]:
    """In the order of their names; empty if there is no such folder."""
    return sorted(path for path in folder.glob("*") if _PART.fullmatch(path.name))


def _grouped(source: Path, limit_bytes: int) -> Iterator[list[Path]]:
    group: list[Path] = []
    used = 0
    for folder, _, names in sorted(os.walk(source, followlinks=True)):
        for file in sorted(Path(folder) / name for name in names):
            # A header and the content, padded to whole blocks; two blocks end an archive, padded to twenty.
            size = _BLOCK * (2 + -(-file.stat().st_size // _BLOCK))
            if size + 20 * _BLOCK > limit_bytes:
                raise ValueError(f"{file} alone is larger than the limit of {limit_bytes} bytes")
            if used + size + 20 * _BLOCK > limit_bytes:
                yield group
                group, used = [], 0
            group.append(file)
            used += size
    if group:
        yield group


def main() -> None:
    """Split or join, as the arguments say."""
    parser = argparse.ArgumentParser(
        prog="python -m posewire_models.training.pack",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("split")
    one.add_argument("source", type=Path)
    one.add_argument("parts", type=Path)
    one.add_argument("--limit-mb", type=float, default=60.0)
    two = commands.add_parser("join")
    two.add_argument("parts", type=Path)
    two.add_argument("destination", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "split" and not 0 < arguments.limit_mb < math.inf:
        parser.error(f"--limit-mb {arguments.limit_mb} must be a number above 0")
    with expected_failures():
        if arguments.command == "split":
            for path in split(arguments.source, arguments.parts, int(arguments.limit_mb * 2**20)):
                print(path, path.stat().st_size)
        else:
            print(f"{join(arguments.parts, arguments.destination)} parts unpacked")


if __name__ == "__main__":
    main()
