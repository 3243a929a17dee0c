"""Foreign files: their tensors are read; a crafted one is refused by name, and nothing of it runs."""

from __future__ import annotations

import argparse
import collections
import io
import os
import pickle
import struct
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from posewire_models.published.errors import UnreadableError
from posewire_models.published.reader import read_tensors

ZIP, LEGACY = True, False
formats = pytest.mark.parametrize("format_", [ZIP, LEGACY], ids=["zip", "legacy"])


def _state() -> dict[str, Tensor]:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    return network.state_dict()


def _saved(path: Path, content: Any, format_: bool) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=format_)
    return path


def _same(read: dict[str, Tensor], state: dict[str, Tensor]) -> bool:
    return read.keys() == state.keys() and all(torch.equal(read[key], state[key]) for key in state)


@formats
@pytest.mark.parametrize("under", [None, "state_dict", "model"])
def test_states_are_read(under: str | None, format_: bool, tmp_path: Path) -> None:
    state = _state()
    path = _saved(tmp_path / "w.pth", state if under is None else {under: state, "epoch": 3}, format_)
    assert _same(read_tensors(path), state)


@formats
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_types_views_and_shared_storages_are_read(dtype: torch.dtype, format_: bool, tmp_path: Path) -> None:
    whole = (torch.arange(24) % 7).to(dtype).view(4, 6)
    state = {"whole": whole, "part": whole[1:3, 2:4], "turned": whole.t(), "empty": whole[:0], "scalar": whole[1, 1]}
    assert _same(read_tensors(_saved(tmp_path / "w.pth", state, format_)), state)


@formats
def test_parameters_are_read(format_: bool, tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    state = read_tensors(_saved(tmp_path / "w.pth", {"weight": parameter}, format_))
    assert torch.equal(state["weight"], torch.ones(2))


def test_safetensors_are_read_whatever_they_are_called(tmp_path: Path) -> None:
    state = {f"weight_{number}": torch.full((2,), float(number)) for number in range(8)}
    for count in range(1, 9):  # headers of many lengths, which are the first bytes of the file
        part = dict(list(state.items())[:count])
        save_file(part, tmp_path / "w.pth", {"note": "x" * (7 * count)})
        assert _same(read_tensors(tmp_path / "w.pth"), part)


@formats
def test_notes_of_the_training_do_not_matter(format_: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What MMPose's checkpoints hold beside the weights: numpy's arrays and scalars, buffers of OpenMMLab's own."""
    module = types.ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        def __init__(self) -> None:
            self.values = np.arange(3.0)
            self.statistics = {"min": HistoryBuffer.smallest}  # pickled as a call of getattr

        def smallest(self) -> float:
            return float(self.values.min())

    for part, name in ((HistoryBuffer, "HistoryBuffer"), (HistoryBuffer.smallest, "HistoryBuffer.smallest")):
        part.__module__, part.__qualname__ = module.__name__, name
    module.HistoryBuffer = HistoryBuffer  # type: ignore[attr-defined]
    for name in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    notes = {
        "message_hub": {"log_scalars": collections.OrderedDict(loss=HistoryBuffer())},
        "meta": {
            "sigmas": np.array([0.026, 0.1]),
            "best": np.float64(0.7),
            "size": torch.Size((1, 2)),
            "kinds": {1, 2},
        },
        "arguments": argparse.Namespace(lr=1e-3),
        "queue": collections.deque([1, 2]),
        "counts": collections.defaultdict(int, a=1),
        "keys": {None: 0, 1.5: 1, b"b": 2, ("layer", 3): 4, -5: {"in": (("deep",),)}},
        "optimizer": {"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.ones(3)}}},
    }
    state = _state()
    path = _saved(tmp_path / "w.pth", {**notes, "state_dict": state}, format_)
    del module.HistoryBuffer  # type: ignore[attr-defined]  # a machine without mmengine
    assert _same(read_tensors(path), state)


class _Calls:
    """Pickles as the call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


CRAFTED = [
    pytest.param(os.system, ("touch {}",), r"posix\.system", id="shell"),
    pytest.param(eval, ("open({!r}, 'w')",), r"\w*builtin\w*\.eval", id="eval"),
    pytest.param(exec, ("open({!r}, 'w')",), r"\w*builtin\w*\.exec", id="exec"),
    pytest.param(open, ("{}", "w"), r"_?io\.open", id="open"),  # of `_io` since Python 3.13
    pytest.param(os.mkdir, ("{}",), r"posix\.mkdir", id="mkdir"),
    pytest.param(__import__, ("antigravity",), r"\w*builtin\w*\.__import__", id="import"),
    pytest.param(torch.load, ("{}",), r"torch\.serialization\.load", id="torch.load"),
    pytest.param(pickle.loads, (b"cos\nsystem\n(S'true'\ntR.",), r"_?pickle\.loads", id="nested"),
    pytest.param(np.load, ("{}",), r"numpy.*load", id="numpy.load"),
    pytest.param(np.fromfile, ("{}",), r"numpy.*fromfile", id="numpy.fromfile"),
]


@formats
@pytest.mark.parametrize(("function", "arguments", "named"), CRAFTED)
def test_a_crafted_pickle_is_refused_and_runs_nothing(
    function: Callable[..., Any], arguments: tuple[Any, ...], named: str, format_: bool, tmp_path: Path
) -> None:
    trace = tmp_path / "ran"
    filled = [part.format(str(trace)) if isinstance(part, str) else part for part in arguments]
    call = _Calls(function, *filled)
    for number, content in enumerate(({"state_dict": _state(), "meta": call}, {"weight": call}, call)):
        path = _saved(tmp_path / f"{number}.pth", content, format_)
        with pytest.raises(UnreadableError, match=rf"wants to use {named}, which tensors do not need; nothing was run"):
            read_tensors(path)
    assert not trace.exists()


def _legacy(content: bytes) -> bytes:
    """A checkpoint of the old format whose description is `content`."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]
    return b"".join(pickle.dumps(part, 2) for part in head) + content + pickle.dumps([], 2)


_NEST = b")" + b"2\x86" * 24  # a tuple of one tuple twice, of which each holds one tuple twice, and so on
_STORAGE = b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nK\x04tQ"
_TENSOR = b"ctorch._utils\n_rebuild_tensor\n(" + _STORAGE + b"K\x00))tR"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # the numpy scalar that unpickles bytes of its own: taken for a note, of no consequence, and no tensor
        (
            b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'O8'\ntRS\"cos\\nsystem\\n.\"\ntR.",
            "no dictionary of tensors",
        ),
        # attributes of a listed stand-in lead nowhere
        (b"c__builtin__\ngetattr\n(c__builtin__\ngetattr\nS'__globals__'\ntR.", "no dictionary of tensors"),
        # dotted names, which protocol 4 would resolve step by step
        (
            b"\x80\x04\x8c\x0bcollections\x8c\x20OrderedDict.__init__.__globals__\x93.",
            "wants to use collections.OrderedDict",
        ),
        (b"\x80\x04\x8c\x05torch\x8c\x10_utils.os.system\x93.", "wants to use torch._utils.os.system"),
        # attributes set on what we give
        (b"ccollections\nOrderedDict\n}S'__call__'\nNsb.", "wants to change a function|damaged"),
        (b"cmmengine.x\nY\n}S'__new__'\nNsb.", "no dictionary of tensors|damaged"),
        (b"\x82\x01.", "EXT1"),
        (b"(Nq\xffr\xff\xff\xff\x7ft.", "no dictionary of tensors"),  # a memo of two thousand million places
        (b"}S'a'\nPstorage\ns.", "refers to 'storage'"),
        (b"}S'a'\n(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nJ\xff\xff\xff\xfftQs.", "in two ways"),
        (b"}S'a'\n(S'module'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nK\x01tQs.", "is no storage of numbers"),
        (b"(" * 100_000 + b"t" * 99_999 + b"t.", "no dictionary|damaged"),  # deep
        # deep or wide without end: to hash it, or to write it down, takes more stack or time than there is
        pytest.param(b"})" + b"\x85" * 1_000_000 + b"K\x01s.", r"nested key \(tuple\)", id="deep key"),
        (b"}" + _NEST + b"K\x01s.", r"nested key \(tuple\)"),
        (b"}(" + _NEST + b"K\x01u.", r"nested key \(tuple\)"),
        (b"(" + _NEST + b"K\x01d.", r"nested key \(tuple\)"),
        (b"\x80\x04\x8f(" + _NEST + b"\x90.", r"nested key \(tuple\)"),
        (b"\x80\x04(" + _NEST + b"\x91.", r"nested key \(tuple\)"),
        (b"ccollections\nOrderedDict\n((" + _NEST + b"K\x01\x86ltR.", r"nested key \(tuple\)"),
        # an ordered dictionary as Python 2 wrote it, with its items
        (b"ccollections\nOrderedDict\n(((S'a'\n" + _TENSOR + b"lltR.", "storage '0' is missing"),
        (b"ccollections\nOrderedDict\n(" + _NEST + b"tR.", "a dictionary of a tuple, not of pairs"),
        (b"}(" + b"K\x01" * 65 + b"tK\x01s.", r"nested key \(tuple\)"),
        (b"}\x8a\x09" + b"\x01" * 9 + b"K\x01s.", r"large or nested key \(int\)"),  # a number of megabytes is as slow
        (_NEST + b"Q.", "refers to a tuple, which is no storage"),
        (b"ctorch._utils\n_rebuild_tensor\n(NK\x00(" + _NEST + b"l)tR.", "whose shape is a list"),
        (b"ctorch\nSize\n(]tR.", "whose shape is a list"),  # copies of a long list
        # what was checked is given another state
        (_STORAGE + b"}S'count'\nJ\xff\xff\xff\x7fsb.", "wants to change a StorageKey"),
        (_TENSOR + b"}S'offset'\nJ\xfe\xff\xff\xffsb.", "wants to change a TensorEntry"),
        (b"", "no whole pickle"),
        (b"\xff\xff", "no whole pickle"),
        (b"}.", "no state"),
        (b"}S'a'\nK\x01s.", "its state holds more than tensors: a"),
    ],
)
def test_tricks_of_the_pickle_machine_do_nothing(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(_legacy(content))
    with pytest.raises(UnreadableError, match=message):
        read_tensors(path)


def _described(
    tmp_path: Path, offset: int = 0, size: Any = (2, 2), stride: Any = (2, 1), count: int = 4, numbers: int = 4
) -> Path:
    """A zip checkpoint that describes a tensor so, over a storage of `numbers`."""
    path = tmp_path / "w.pth"
    torch.save({"weight": torch.arange(4.0).view(2, 2)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    description = io.BytesIO()
    pickler = pickle._Pickler(description, 2)  # type: ignore[attr-defined]  # the one whose persistent ids can be set
    pickler.persistent_id = lambda value: value.pid if isinstance(value, _Storage) else None
    pickler.dump({"weight": _Calls(torch._utils._rebuild_tensor_v2, _Storage(count), offset, size, stride, False, {})})
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            if name.endswith("/data.pkl"):
                content = description.getvalue()
            if "/data/" in name:
                content = struct.pack(f"<{numbers}f", *range(numbers))
            archive.writestr(name, content)
    return path


class _Storage:
    def __init__(self, count: int) -> None:
        self.pid = ("storage", torch.FloatStorage, "0", "cpu", count)


def test_a_description_in_order_is_believed(tmp_path: Path) -> None:
    assert read_tensors(_described(tmp_path))["weight"].tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"size": (2, 3), "stride": (3, 1)}, "does not fit into its storage"),
        ({"offset": 1}, "does not fit into its storage"),
        ({"stride": (1 << 60, 1)}, "does not fit into its storage"),
        ({"size": (1 << 40, 1 << 40), "stride": (0, 0)}, "does not fit into its storage"),  # all zeros, without end
        ({"count": 1 << 40}, "does not hold its 1099511627776 numbers"),
        ({"numbers": 3}, "does not hold its 4 numbers"),
        ({"offset": -1}, "whole numbers"),
        ({"stride": (-2, 1)}, "whole numbers"),
        ({"size": (2.0, 2)}, "whole numbers"),
        ({"size": (1 << 64, 2)}, "whole numbers"),
        ({"size": (True, 2)}, "whole numbers"),
        ({"size": [2, 2]}, "whose shape is"),
        ({"stride": (1,)}, "2 dimensions and 1 strides"),
        ({"size": (1,) * 9, "stride": (1,) * 9}, "9 dimensions"),
        ({"size": (1,) * 65, "stride": (1,) * 65}, "whose shape is a tuple"),
    ],
)
def test_sizes_are_checked_against_what_is_there(description: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match=message):
        read_tensors(_described(tmp_path, **description))


@formats
def test_a_file_cut_short_anywhere_is_refused(format_: bool, tmp_path: Path) -> None:
    content = _saved(tmp_path / "w.pth", {"state_dict": _state()}, format_).read_bytes()
    for length in range(0, len(content) - 1, 61):
        (tmp_path / "w.pth").write_bytes(content[:length])
        with pytest.raises(UnreadableError, match=r"w\.pth (is damaged|cannot be read)"):
            read_tensors(tmp_path / "w.pth")


@formats
@hypothesis.given(
    places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8)
)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], max_examples=60)
def test_changed_bytes_give_tensors_or_an_error(places: list[tuple[float, int]], format_: bool, tmp_path: Path) -> None:
    content = bytearray(_saved(tmp_path / "w.pth", {"weight": torch.ones(5)}, format_).read_bytes())
    for place, value in places:
        content[int(place * len(content))] = value
    (tmp_path / "w.pth").write_bytes(content)
    try:
        state = read_tensors(tmp_path / "w.pth")
    except UnreadableError:
        return
    assert all(tensor.numel() <= len(content) for tensor in state.values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html>Log in</html>", "looks like a web page"),
        (b"neither this nor that", "neither a PyTorch checkpoint nor safetensors"),
        (pickle.dumps({"a": 1}), "no checkpoint that torch.save wrote"),
        (struct.pack("<Q", 20) + b'{"a": 1}' + b" " * 20, "damaged"),  # safetensors, but not quite
    ],
)
def test_other_files_are_told_apart(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UnreadableError, match=message):
        read_tensors(tmp_path / "w.pth")


_EVIL = "\x1b[2J\nposewire: stored"


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(1)[:2] + f"\x8c{chr(len(_EVIL))}{_EVIL}\x8c\x01n\x93.".encode("latin1"),
        {_EVIL: 1},
        struct.pack("<Q", 76)
        + b'{"\\u001b[2J\\nposewire":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}'.ljust(76)
        + bytes(12),
    ],
    ids=["name", "key", "safetensors"],
)
def test_what_a_file_says_is_told_in_one_line(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UnreadableError, match=r"\?\[2J posewire") as raised:
        read_tensors(path)
    assert str(raised.value).isprintable()


def test_archives_that_torch_does_not_write_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", b"0" * 1000)
    with pytest.raises(UnreadableError, match="compressed archive"):
        read_tensors(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", b"hello")
    with pytest.raises(UnreadableError, match=r"not one that torch\.save wrote"):
        read_tensors(path)
    with pytest.raises(UnreadableError, match="cannot be read"):
        read_tensors(tmp_path / "absent.pth")
