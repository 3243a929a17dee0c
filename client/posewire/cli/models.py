"""`posewire models`: lists networks, and fetches, checks, converts and exports their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from posewire.cli.console import plain_console
from posewire.cli.failures import (
    IMPORT_FAILURES,
    CommandError,
    UsageError,
    expected_failures,
    import_failure,
    is_watched,
    say,
)
from posewire.cli.options import QuietFlag

if TYPE_CHECKING:
    from posewire_models.published.catalogue import PublishedFile
    from posewire_models.published.store import Store

__all__ = ["models"]

_TABLE_WIDTH = 120

models = typer.Typer(
    name="models",
    help="Manage networks: bundled ones, and published weights.",
    no_args_is_help=True,
    add_completion=False,
)


@models.command(name="list")
def list_models() -> None:
    """List bundles and published files: whether they are stored, size, licence, accuracy."""
    with _expected_failures():
        from posewire.cli.model_tables import bundle_table, file_table
        from posewire_models.published.store import Store

        store, console = Store(), plain_console(least_width=_TABLE_WIDTH)
        for table in (bundle_table(store), file_table(store)):
            console.print(table)
            console.print()
        console.print(f"Weights are kept in {store.weights}", soft_wrap=True)


@models.command()
def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Bundles or published files.")],
    mirror: Annotated[
        str,
        typer.Option(
            metavar="URL", envvar="POSEWIRE_MIRROR", help="Download from URL/HOST/PATH instead of https://HOST/PATH."
        ),
    ] = "",
    quiet: QuietFlag = False,
) -> None:
    """Download published weights, check and convert them. Interrupted downloads are resumed."""
    with _expected_failures():
        from posewire.cli.model_files import files_to_fetch
        from posewire_models.published.errors import DownloadError
        from posewire_models.published.store import Store

        _check_mirror(mirror)
        store = Store()
        files = {file.name: file for name in names for file in files_to_fetch(name, store, quiet=quiet)}
        failures = []
        for file in files.values():
            try:
                _pull(file, store, mirror, quiet=quiet)
            except DownloadError as error:  # the other files may come from another host
                failures.append(str(error))
        if failures:
            raise CommandError("\n".join(failures))


@models.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Bundles or published files (default: all stored files)."),
    ] = None,
    quiet: QuietFlag = False,
) -> None:
    """Check the digests of weights; exit status 1 if one is damaged."""
    with _expected_failures():
        from posewire.cli.model_files import Check, checks_of
        from posewire_models.published.catalogue import catalogue
        from posewire_models.published.store import Store

        store = Store()
        checks: dict[str, Check] = {}
        for name in names or catalogue():
            found = checks_of(name, store)
            if names and not found:
                raise CommandError(f"{name} is not here; fetch it: posewire models pull {name}")
            checks |= found
        if names is None and not checks and not quiet:
            say(f"nothing is stored in {store.folder}; posewire models list shows what there is to pull")
        remedies = []
        for name, check in checks.items():
            if fault := check.fault():
                remedies.append(check.remedy)
                say(f"{name}: DAMAGED: {fault}")
            elif not quiet:
                say(f"{name}: whole{check.origin}")
        if remedies:
            raise CommandError(f"{len(remedies)} damaged; {'; '.join(dict.fromkeys(remedies))}")


@models.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Published file to convert: .pth, .pth.tar, ...")],
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Name of the published file, if its file name does not tell."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="F.safetensors",
            help="Write to this file, for a bundle of your own, instead of storing the weights.",
        ),
    ] = None,
    quiet: QuietFlag = False,
) -> None:
    """Convert a checkpoint from a file. Pickled code in it is never run."""
    with _expected_failures():
        from posewire.cli.outputs import check_outputs

        if out is not None:
            if out.suffix != ".safetensors":
                raise UsageError(f"--out {out} must end in .safetensors, the format that is written")
            check_outputs({"--out": out}, [source])
        from posewire_models.published.pulling import convert_file, convert_to
        from posewire_models.published.store import Store
        from posewire_models.whole_files import file_digest

        if out is not None:
            written = convert_to(source, out, name)
            if not quiet:
                say(f"wrote {out}, the network of {written.name}; SHA-256 for a manifest: {file_digest(out)}")
            return
        store = Store()
        record = convert_file(source, store, name)
        if not quiet:
            say(f"{record.name}: {store.path(record)} ({record.bytes / 1e6:.0f} MB)")


@models.command()
def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name or folder of the bundle.")],
    onnx: Annotated[Path, typer.Option(metavar="OUT_DIR", help="Folder for the ONNX files; created if missing.")],
    quiet: QuietFlag = False,
) -> None:
    """Export each network of a bundle to ONNX, and compare it with the original in ONNX Runtime."""
    with _expected_failures():
        from posewire.cli.outputs import check_folder

        check_folder(onnx)
        try:
            from posewire_models.bundle_export import export_bundle
        except IMPORT_FAILURES as error:
            raise import_failure("`posewire models export`", error) from error

        for written in export_bundle(name, onnx):
            if not quiet:
                how = (
                    f"differs by at most {written.difference:.1g}" if written.compared else "ran; found nobody in noise"
                )
                say(f"{written.stage}: {written.path} ({written.path.stat().st_size / 1e6:.0f} MB, {how})")


def _check_mirror(mirror: str) -> None:
    from posewire_models.published.download import check_address
    from posewire_models.published.errors import DownloadError

    try:
        if mirror:
            check_address(mirror)
    except DownloadError as error:
        raise UsageError(f"--mirror (or POSEWIRE_MIRROR): {error}") from error


def _pull(file: PublishedFile, store: Store, mirror: str, *, quiet: bool) -> None:
    from posewire_models.published.pulling import pull as pull_file

    def waiting() -> None:
        if not quiet:
            say(f"another process is fetching {file.name}; waiting for it")

    with _download_bar(file.name, quiet=quiet) as progress:
        record = pull_file(file, store, progress=progress, waiting=waiting, mirror=mirror)
    if quiet:
        return
    say(f"{file.name}: {store.path(record)} ({record.bytes / 1e6:.0f} MB, licence {file.licence})")
    if not file.sha256_prefix:
        say(f"  published without a digest to check it by; the downloaded file has the SHA-256 {record.source_sha256}")


@contextmanager
def _download_bar(name: str, *, quiet: bool) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar in bytes on standard error; none if quiet or not in a terminal."""
    if quiet or not is_watched():
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=plain_console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def _expected_failures() -> Iterator[None]:
    """Like `expected_failures`, also for errors of posewire_models, which is imported only when a command runs."""
    with expected_failures():
        try:
            yield
        except ImportError as error:
            raise import_failure("`posewire models`", error) from error
        except ValueError as error:
            if not type(error).__module__.startswith("posewire_models."):
                raise
            raise CommandError(str(error)) from error
