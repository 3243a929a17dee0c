"""docs/client.md: its examples run against a real server, and it leaves out no error and no public name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

import posewire
import posewire.errors
from posewire_server.admission.tokens import TokenGrant, append_line, new_token
from posewire_server.config import SecurityConfig, ServerConfig
from tests.integration.certificates import Authority
from tests.server.serving import serving
from tests.server.stand_ins import networks, picture

GUIDE_FILE = Path(__file__).parents[2] / "docs" / "client.md"
GUIDE = GUIDE_FILE.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
ADDRESS = "gpu-host:50051"
FRAMES = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples find where they run: a video, a token and a certificate."""
    folder = tmp_path_factory.mktemp("guide")
    with av.open(str(folder / "walk.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for step in range(FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(step), format="rgb24")))
        container.mux(stream.encode())
    return folder


@pytest.fixture(scope="module")
def open_server() -> Iterator[str]:
    with serving(networks()) as address:
        yield address


@pytest.fixture(scope="module")
def protected_server(folder: Path) -> Iterator[str]:
    authority = Authority(folder, "ca")
    identity = authority.issue("server")
    token, line = new_token(TokenGrant(name="door"))
    append_line(folder / "tokens", line)
    (folder / "door.token").write_text(token + "\n")
    security = SecurityConfig(tls_cert=identity.cert, tls_key=identity.key, tokens=folder / "tokens")
    with serving(networks(), ServerConfig(port=0, security=security)) as address:
        yield address


def _name(example: str) -> str:
    """The first name that tells one from the others."""
    return next(
        iter(re.findall(r"token=|AsyncClient|SourceFrame|finish|estimate|draw_people|Writer", example)), "first"
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=_name)
def test_examples_run_as_they_are(
    example: str,
    folder: Path,
    open_server: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = request.getfixturevalue("protected_server") if "token=" in example else open_server
    assert ADDRESS in example
    monkeypatch.chdir(folder)
    exec(compile(example.replace(ADDRESS, address), "docs/client.md", "exec"), {"__name__": "example"})
    shown = capsys.readouterr().out
    if "stream.summary" in example:
        assert f"frames={FRAMES}, sent={FRAMES}, tracked={FRAMES}" in shown
    for file in re.findall(r'Writer\(\s*"([\w.]+)"', example):
        assert (folder / file).stat().st_size > 0


def test_the_table_of_errors_is_complete() -> None:
    (rows,) = re.findall(r"\| error \| \|\n\|-\|-\|\n(.*?)\n\n", GUIDE, re.DOTALL)
    listed = [name for row in rows.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(listed) == sorted({*posewire.errors.__all__} - {"PosewireError", "Violation"})


def test_every_public_name_is_explained() -> None:
    names = {name for name in posewire.__all__ if not name.startswith("_")} - {"AsyncTrackStream", "TrackStream"}
    pages = "\n".join(page.read_text(encoding="utf-8") for page in GUIDE_FILE.parent.glob("*.md"))
    code = " ".join(re.findall(r"```python\n.*?```|`[^`\n]+`", pages, re.DOTALL))
    assert {name for name in names if not re.search(rf"\b{name}\b", code)} == set()
