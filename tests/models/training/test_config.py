from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from posewire_models.training import command
from posewire_models.training.command import CONFIGS, TASKS, check_parts, run
from posewire_models.training.config import ConfigError, build, read_toml, with_overrides
from posewire_models.training.readers.label_file import LabelFileError
from posewire_models.weights import WeightsError


@dataclass(frozen=True, kw_only=True)
class Inner:
    share: float
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.share > 1:
            raise ValueError(f"share {self.share} must be at most 1")


@dataclass(frozen=True, kw_only=True)
class Outer:
    count: int
    inner: Inner
    many: tuple[Inner, ...] = ()
    size: tuple[int, int] = (1, 2)
    file: Path | None = None
    extra: dict[str, int] = field(default_factory=dict)


def test_tables_become_dataclasses() -> None:
    table = {"count": 3, "inner": {"share": 1}, "many": [{"share": 0.5, "names": ["a"]}], "size": [4, 5], "file": "x/y"}
    assert build(Outer, table) == Outer(
        count=3, inner=Inner(share=1.0), many=(Inner(share=0.5, names=("a",)),), size=(4, 5), file=Path("x/y")
    )


def test_an_empty_text_takes_an_optional_setting_away() -> None:
    assert build(Outer, {"count": 1, "inner": {"share": 0}, "file": ""}).file is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"count": 1}, "config: the setting 'inner' is missing"),
        ({"count": 1, "inner": {"share": 0}, "cuont": 2}, "unknown setting 'cuont'; it knows count"),
        ({"count": "1", "inner": {"share": 0}}, r"config\.count: int is expected, not '1'"),
        ({"count": True, "inner": {"share": 0}}, r"config\.count: int is expected"),
        ({"count": 1, "inner": 5}, r"config\.inner: a table is expected"),
        ({"count": 1, "inner": {"share": 2}}, r"config\.inner: share 2\.0 must be at most 1"),
        ({"count": 1, "inner": {"share": 0}, "size": [1]}, r"config\.size: 2 values are expected, not 1"),
        ({"count": 1, "inner": {"share": 0}, "many": "ab"}, r"config\.many: a list is expected"),
        ({"count": 1, "inner": {"share": 0}, "many": [{}]}, r"config\.many\[0\]: the setting 'share' is missing"),
        ({"count": 1, "inner": {"share": math.nan}}, r"config\.inner\.share: a finite number is expected, not nan"),
        ({"count": 1, "inner": {"share": math.inf}}, r"config\.inner\.share: a finite number is expected, not inf"),
        ({"count": 1, "inner": {"share": 10**400}}, r"config\.inner\.share: 10{19}\.\.\. is too large"),
        ({"count": 10**400, "inner": {"share": 0}}, r"config\.count: 10{19}\.\.\. is too large"),
        ({"count": 1, "inner": {"share": 0}, "extra": 5}, r"config\.extra: a table is expected, not 5"),
        ({"count": 1, "inner": {"share": 0}, "extra": {"a": "b"}}, r"config\.extra\.a: int is expected, not 'b'"),
    ],
)
def test_faults_are_named_with_their_place(table: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(Outer, table)


def test_a_base_holds_where_the_file_is_silent(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("a = 1\n[t]\nx = 1\ny = 2\n")
    (tmp_path / "over.toml").write_text('base = "base.toml"\n[t]\nx = 9\n')
    assert read_toml(tmp_path / "over.toml") == {"a": 1, "t": {"x": 9, "y": 2}}
    (tmp_path / "base.toml").unlink()
    with pytest.raises(ConfigError, match=r"over\.toml: its base .*base\.toml cannot be read"):
        read_toml(tmp_path / "over.toml")


def test_overrides_are_written_as_toml() -> None:
    table = with_overrides({"loop": {"seed": 1, "lr": 2}}, ["loop.seed=7", 'name="x"', "size=[1, 2]"])
    assert table == {"loop": {"seed": 7, "lr": 2}, "name": "x", "size": [1, 2]}
    with pytest.raises(ConfigError, match="write it as key=value"):
        with_overrides({}, ["seed"])
    with pytest.raises(ConfigError, match="texts need quotes"):
        with_overrides({}, ["name=x y"])


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.toml")), ids=lambda file: file.stem)
def test_packaged_configs_are_valid(file: Path) -> None:
    task = next((name for name in TASKS if name in file.stem), "pose")
    check_parts(build(TASKS[task][0], read_toml(file)))


@pytest.mark.parametrize(
    ("row", "overrides", "filters"),
    [
        ("b", ["network.deconv_filters=[256,256]", "network.deconv_kernels=[4,4]"], 2),  # two deconvolutions
        ("c", ["network.deconv_kernels=[2,2,2]"], 3),  # small kernels
        ("d", ["network.deconv_kernels=[3,3,3]"], 3),
        ("e", ["network.depth=101", 'init_trunk="imagenet/resnet101.safetensors"'], 3),
        ("f", ["network.depth=152", 'init_trunk="imagenet/resnet152.safetensors"'], 3),  # the deepest trunk
        ("g", ["network.input_size=[128,96]"], 3),
        ("h", ["network.input_size=[384,288]", "sigma=3.0"], 3),  # the largest input
    ],
)
def test_rows_of_table_2_by_override(row: str, overrides: list[str], filters: int) -> None:
    from posewire_models.pose_resnet import TABLE_2

    table = with_overrides(read_toml(CONFIGS / "paper-coco.toml"), overrides)
    # They are those that the file itself names.
    assert all(f"--set '{override}'" in (CONFIGS / "paper-coco.toml").read_text() for override in overrides)
    config = build(TASKS["pose"][0], table)
    network = config.network_config()
    assert len(network.deconv_filters) == filters
    assert network == TABLE_2[row]
    assert config.patch_crop_height >= network.input_size[0]  # crops are not enlarged


def test_unknown_tasks_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown task 'dance'; known: pose, detector, flow"):
        run("dance", tmp_path / "a.toml")
    with pytest.raises(ConfigError, match=r"a\.toml does not exist; the packaged ones are .*nano-pose, .*paper-coco"):
        run("pose", tmp_path / "a.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        run("pose", tmp_path)
    (tmp_path / "a.toml").write_text("x = [")
    with pytest.raises(ConfigError, match="not TOML"):
        run("pose", tmp_path / "a.toml")


@pytest.mark.parametrize(
    "content",
    [
        "seed = 1\n".encode("utf-16"),  # as some editors save it
        b"seed = " + b"1" * 5000,  # more digits than Python reads
        b"seed = " + b"[" * 5000,
    ],
)
def test_files_that_are_not_toml_are_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.toml is not TOML"):
        read_toml(tmp_path / "a.toml")


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfseed = 1\n")
    assert read_toml(tmp_path / "a.toml") == {"seed": 1}


@pytest.mark.parametrize(
    ("override", "flags", "message"),
    [
        ("loop=5", {}, r"nano-pose\.loop: a table is expected, not 5"),
        ("loop=5", {"out": Path("x")}, r"nano-pose\.loop: a table is expected, not 5"),
        ("loop.schedule=3", {"max_minutes": 1}, r"nano-pose\.loop\.schedule: a table is expected, not 3"),
        ("loop.seed=1", {"max_minutes": math.nan}, r"loop\.schedule\.max_minutes: a finite number is expected"),
        ("network=5", {}, r"nano-pose\.network: a table is expected, not 5"),
        ("network.width=nan", {}, r"width: a finite number is expected"),
        ("loop.lr_factors={a=nan}", {}, r"loop\.lr_factors\.a: a finite number is expected"),
        ("loop.lr_factors={feature=0.3}", {}, r"loop\.lr_factors: no part of the network is called 'feature'"),
        ("loop.frozen=['features.0', 'feature.1']", {}, r"loop\.frozen: no part of the network is called 'feature\.1'"),
        ("sigma=" + "1" * 5000, {}, r"is not TOML"),
    ],
)
def test_overrides_that_make_no_sense_are_named(override: str, flags: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run("pose", Path("nano-pose"), overrides=[override], **flags)


@pytest.mark.parametrize(
    ("task", "override", "message"),
    [
        ("pose", "patch_side=100000", r"patch_side in 1\.\.4096"),
        ("pose", "sigma=1e300", r"sigma lies in 0\.\.100"),
        ("pose", "loop.threads=100000000", r"threads 100000000 must be in 0\.\.1024"),
        ("pose", "loaders=1000000", r"loaders lies in 1\.\.1024"),
        ("detector", "longest_side=100000", r"longest_side lies in 64\.\.16384"),
        ("flow", "texture_side=100000", r"texture_side lies in 32\.\.4096"),
    ],
)
def test_sizes_that_no_machine_can_hold_are_named(task: str, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(task, Path(f"nano-{task}"), overrides=[override])


def test_the_papers_configs_chain() -> None:
    coco, posetrack = (
        build(TASKS["pose"][0], read_toml(CONFIGS / f"paper-{name}.toml")) for name in ("coco", "posetrack")
    )
    assert posetrack.joints_needed > 2  # its boxes are made of joints: of one it would be a point
    assert posetrack.init_from == coco.loop.out / "weights.safetensors"


@pytest.mark.parametrize(
    ("out", "flags", "said"),
    [
        ("full", {}, r"full holds a checkpoint that cannot be read: move it away, or give another --out"),
        ("file/run", {}, r"file/run cannot be made or written to: Not a directory"),
        ("new/run", {"resume": True}, r"there is no checkpoint .*new/run/checkpoint\.pt; run without --resume"),
    ],
)
def test_what_is_wrong_with_the_folder_is_said_before_data_are_read(
    out: str, flags: dict[str, bool], said: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "checkpoint.pt").write_text("no checkpoint")
    with pytest.raises((OSError, WeightsError), match=said):
        run("pose", Path("nano-pose"), data_root=tmp_path / "nothing", out=tmp_path / out, **flags)
    new, untrained = tmp_path / "new" / "run", ['init_trunk = ""']
    with pytest.raises(LabelFileError):
        run("pose", Path("nano-pose"), data_root=tmp_path / "nothing", out=new, overrides=untrained)
    assert not (tmp_path / "new").exists()


def test_settings_and_what_stops_a_run_reach_its_training(monkeypatch: pytest.MonkeyPatch) -> None:
    kind, _ = TASKS["pose"]
    given: dict[str, object] = {}
    monkeypatch.setitem(TASKS, "pose", (kind, lambda settings, **others: given.update(others, settings=settings)))
    looked_at: dict[Path, bool] = {}
    monkeypatch.setattr(command, "check_run_folder", lambda out, *, resume: looked_at.update({out: resume}))
    run("pose", Path("nano-pose"), out=Path("elsewhere"), max_minutes=3, resume=True, stop=len)
    assert looked_at == {Path("elsewhere"): True}
    settings = given.pop("settings")
    assert isinstance(settings, kind)
    assert (settings.loop.out, settings.loop.schedule.max_minutes) == (Path("elsewhere"), 3)
    assert given == {"resume": True, "stop": len}
