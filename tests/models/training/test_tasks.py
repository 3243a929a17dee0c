"""The three tasks as they are started: from a config file, on drawn figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from posewire_models.crops import normalise
from posewire_models.training.checkpoint import save_weights
from posewire_models.training.command import TASKS, run
from posewire_models.training.config import ConfigError, build, read_toml
from posewire_models.training.loop import Trained
from posewire_models.training.readers.label_file import LabelFileError
from posewire_models.training.yolox_loss import YoloxTargets, yolox_loss
from posewire_models.trunks import ResNetTrunk
from posewire_models.weights import WeightsError, load_strict, read_state
from posewire_models.yolox_detector import YoloxDetector, YoloxDetectorConfig
from tests.models.training.figures import stick_figure, write_coco

POSE = """
architecture = "pose_resnet"
patch_side = 128
patch_crop_height = 80
sigma = 1.5
held_out_limit = 64
{more}
[network]
depth = 18
width = 0.125
input_size = [64, 64]
deconv_filters = [32, 32, 32]
[augment]
scale = 0.05
rotation_deg = 5.0
[loop]
out = "{out}"
precision = "fp32"
average = 0.95
threads = 1
log_every = 50
schedule = {{ batch_size = 32, lr = 5e-3, samples = {samples}, shape = "cosine", warmup = 0.05 }}
[[sources]]
format = "coco"
images = "images"
labels = "labels.json"
[[held_out]]
format = "coco"
images = "images"
labels = "labels.json"
"""


def start(folder: Path, samples: int, more: str = "", overrides: Sequence[str] = (), **arguments: bool) -> Trained:
    config = folder / "pose.toml"
    config.write_text(POSE.format(out=folder / "run", samples=samples, more=more))
    return run("pose", config, data_root=folder / "data", overrides=overrides, **arguments)


def _losses(run_folder: Path) -> list[float]:
    """Of a run, in the order of its reports."""
    lines = (run_folder / "curves.csv").read_text().splitlines()
    return [float(line.split(",")[2]) for line in lines if ",loss," in line]


def test_pose_training_overfits_64_pictures(tmp_path: Path) -> None:
    write_coco(tmp_path / "data", 64)
    trained = start(tmp_path, samples=8 * 200, overrides=["loop.schedule.batch_size=8"])
    assert trained.figures["coco/pck"] >= 0.95
    assert (tmp_path / "run" / "samples.png").exists()
    weights = read_state(tmp_path / "run" / "weights.safetensors")
    assert weights["final_layer.weight"].dtype == torch.float16


@pytest.mark.gpu
def test_a_run_on_a_gpu_goes_on_on_a_cpu(real_gpu: torch.device, tmp_path: Path) -> None:
    write_coco(tmp_path / "data", 16)
    parts = ("half_body", "colour", "blur", "cutout", "paste", "any_angle")
    settings = ["loop.schedule.batch_size=16", *(f"augment.{part}=0.5" for part in parts)]
    there = [f"device='{real_gpu}'", "loop.precision='bf16'", "loop.log_every=1"]
    assert start(tmp_path, samples=16 * 40, overrides=[*settings, *there]).steps == 40
    losses = _losses(tmp_path / "run")
    assert sum(losses[-5:]) < sum(losses[:5])
    assert start(tmp_path, samples=16 * 42, overrides=[*settings, "device='cpu'"], resume=True).steps == 42


def test_held_out_sets_of_one_format_are_measured_each(tmp_path: Path) -> None:
    write_coco(tmp_path / "data", 2)
    more = '[[held_out]]\nformat = "coco"\nimages = "images"\nlabels = "labels.json"'
    trained = start(tmp_path, samples=32, more=more)
    assert {name for name in trained.figures if name.endswith("/pck")} == {"coco/pck", "coco_2/pck"}


def test_a_trunk_must_be_that_of_the_network(tmp_path: Path) -> None:
    write_coco(tmp_path / "data", 2)
    trunk = ResNetTrunk(18, 0.125).state_dict()
    save_weights(tmp_path / "data" / "r18.safetensors", trunk, {})
    more = 'init_trunk = "r18.safetensors"'
    start(tmp_path, samples=32, more=more)
    # All of the smaller ResNet fits into the larger one, whose other blocks would stay random.
    with pytest.raises(WeightsError, match=r"r18\.safetensors has no layer1\.2\.conv1\.weight .* as init_trunk"):
        start(tmp_path, samples=32, more=more, overrides=["network.depth=34", f"loop.out='{tmp_path / 'other'}'"])


@pytest.mark.parametrize("more", ["in_memory = true", "in_memory = false"])
def test_a_resumed_pose_run_equals_one_that_was_not_stopped(tmp_path: Path, more: str) -> None:
    write_coco(tmp_path / "data", 10)  # not a whole number of batches
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "data").symlink_to(tmp_path / "data")

    def settings(folder: Path) -> object:
        text = POSE.format(out=folder / "run", samples=8 * 4, more=more)
        (folder / "p.toml").write_text(text.replace("batch_size = 32", "batch_size = 8"))
        return build(TASKS["pose"][0], read_toml(folder / "p.toml") | {"data_root": str(folder / "data")})

    train_pose = TASKS["pose"][1]
    train_pose(settings(whole))
    train_pose(settings(tmp_path), stop=lambda step: step == 2)
    train_pose(settings(tmp_path), resume=True)
    first, second = (read_state(folder / "run" / "weights.safetensors") for folder in (whole, tmp_path))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("more", ["in_memory = true", "in_memory = false"])
def test_damaged_and_missing_pictures_are_reported_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, more: str
) -> None:
    write_coco(tmp_path / "data", 35)
    (tmp_path / "data" / "images" / "000001.png").write_bytes(b"\x89PNG and then nothing")
    (tmp_path / "data" / "images" / "000002.png").unlink()
    (tmp_path / "data" / "images" / "000003.png").write_bytes(b"")
    trained = start(tmp_path, samples=32 * 2, more=more)
    assert trained.steps == 2
    assert "000001.png is damaged" in caplog.text
    assert "000002.png cannot be read (No such file or directory); skipped" in caplog.text
    assert "000003.png is damaged" in caplog.text


def test_data_without_people_is_refused(tmp_path: Path) -> None:
    labels = write_coco(tmp_path / "data", 2)
    content = json.loads(labels.read_text())
    for annotation in content["annotations"]:
        annotation["keypoints"] = [0] * 51
    labels.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"trained on of coco \(images\) has no labelled person in 2 pictures"):
        start(tmp_path, samples=64)


def test_a_missing_folder_of_pictures_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_coco(tmp_path / "data", 3)
    (tmp_path / "data" / "images").rename(tmp_path / "data" / "pictures")
    with pytest.raises(ConfigError, match=r"coco: there is no folder of pictures .*data/images"):
        start(tmp_path, samples=64)
    assert "skipped" not in caplog.text


def test_a_held_out_side_without_people_is_named(tmp_path: Path) -> None:
    labels = write_coco(tmp_path / "data", 2)
    content = json.loads(labels.read_text())
    content["annotations"][1]["keypoints"] = [0] * 51
    labels.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"held out of coco \(.*/data/images\) has no labelled person in 1 pictures"):
        start(
            tmp_path,
            samples=64,
            overrides=["sources=[{format='coco',images='images',labels='labels.json',held_out_every=2}]"],
        )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network.input_size=[100,64]", "multiples of 32"),
        ("joints='coco18'", "unknown joint set"),
        ("network.joints=5", "network.joints 5 must be 17, the number of joints of 'coco17'"),
        ("architecture='vit'", "must be one of pose_resnet"),
        ("loop.precision='fp8'", "one of auto, bf16, fp32"),
    ],
)
def test_faulty_configs_are_named(tmp_path: Path, override: str, message: str) -> None:
    write_coco(tmp_path / "data", 2)
    with pytest.raises(ConfigError, match=message):
        start(tmp_path, samples=64, overrides=[override])


@pytest.mark.parametrize("key", ["init_from", "init_trunk"])
def test_missing_start_weights_are_named_before_data_are_read(tmp_path: Path, key: str) -> None:
    with pytest.raises(WeightsError, match="no weight file"):  # there are no data
        start(tmp_path, samples=64, overrides=[f"{key}='nothing.safetensors'"])


def test_a_missing_label_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelFileError, match=r"labels\.json cannot be read"):
        start(tmp_path, samples=64)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    write_coco(tmp_path / "data", 34)
    start(tmp_path, samples=32)
    with pytest.raises(WeightsError, match="does not fit PoseResNet"):
        start(tmp_path, samples=64, overrides=["network.width=0.5"], resume=True)


FASTER_SIZES = '{ "wh.2" = 10.0, "reg.2" = 10.0 }'
CENTERS = """
trunk = "resnet18"
width = 0.25
input_size = [96, 96]
deconv_filters = [16, 16, 16]
head_channels = 16
"""
DETECTOR = """
architecture = "{architecture}"
longest_side = 128
[network]
{network}
[scene]
mosaic = 0.3
[loop]
out = "{out}"
precision = "fp32"
average = 0.9
schedule = {{ batch_size = 8, lr = 5e-3, samples = {samples}, shape = "cosine", warmup = 0.05 }}
lr_factors = {factors}
[[sources]]
format = "coco"
images = "images"
labels = "labels.json"
held_out_every = 8
"""


def detector_config(folder: Path, samples: int, **settings: str) -> Path:
    config = folder / "detector.toml"
    given = {"architecture": "center_detector", "network": CENTERS, "factors": FASTER_SIZES} | settings
    config.write_text(DETECTOR.format(out=folder / "run", samples=samples, **given))
    return config


def test_detector_training_learns_to_find_figures(tmp_path: Path) -> None:
    write_coco(tmp_path / "data", 40)
    trained = run("detector", detector_config(tmp_path, 8 * 60), data_root=tmp_path / "data")
    assert trained.figures["ap50"] > 0.5
    assert (tmp_path / "run" / "samples.png").exists()


def test_a_detector_is_measured_on_what_is_held_out_as_a_whole(tmp_path: Path) -> None:
    write_coco(tmp_path / "data", 2)
    write_coco(tmp_path / "data" / "val", 3)
    config = detector_config(tmp_path, 8)
    whole = '[[held_out]]\nformat = "coco"\nimages = "val/images"\nlabels = "val/labels.json"\n'
    config.write_text(config.read_text().replace("held_out_every = 8", whole))
    trained = run("detector", config, data_root=tmp_path / "data")
    assert trained.figures.keys() == {"ap50", "ap75"}


def test_yolox_training_learns_from_figures(tmp_path: Path) -> None:
    write_coco(tmp_path / "data", 40)
    settings = {"architecture": "yolox", "network": "width = 0.5\ninput_size = [96, 96]", "factors": "{}"}
    trained = run("detector", detector_config(tmp_path, 8 * 40, **settings), data_root=tmp_path / "data")
    assert trained.figures.keys() == {"ap50", "ap75"}
    config = YoloxDetectorConfig(width=0.5, input_size=(96, 96))
    network = YoloxDetector(config)  # in training mode: statistics take longer than this run has
    rng = np.random.default_rng(99)
    figures = [stick_figure(rng, 96) for _ in range(8)]
    pixels = torch.from_numpy(np.stack([picture for picture, _ in figures])).permute(0, 3, 1, 2).float()
    pictures = normalise(pixels, config.pixel_mean, config.pixel_std)
    joints = torch.from_numpy(np.stack([joints for _, joints in figures]))[..., :2]
    boxes = torch.cat((joints.amin(dim=1) - 4, joints.amax(dim=1) + 4), dim=1)
    people = YoloxTargets(list(boxes[:, None]), [torch.zeros(0, 4)] * 8)
    with torch.no_grad():
        before = yolox_loss(network(pictures), people, (96, 96)).item()
        load_strict(network, read_state(tmp_path / "run" / "weights.safetensors"), "weights")
        after = yolox_loss(network(pictures), people, (96, 96)).item()
    assert after < 0.8 * before


def test_a_detector_needs_pictures_that_tell_of_everybody(tmp_path: Path) -> None:
    labels = write_coco(tmp_path / "data", 2)
    content = json.loads(labels.read_text())
    for image in content["images"]:
        image["all_persons_boxed"] = False
    labels.write_text(json.dumps(content))
    config = detector_config(tmp_path, 8)
    with pytest.raises(ValueError, match=r"images: none of its \d pictures tells of everybody"):
        run("detector", config, data_root=tmp_path / "data", overrides=["scenes=1"])
    labels.write_text(labels.read_text().replace("false", "true"))
    for picture in (tmp_path / "data" / "images").iterdir():
        picture.write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of the \d pictures that tell of everybody can be read"):
        run("detector", config, data_root=tmp_path / "data", overrides=["scenes=1"])


def test_flow_training_lowers_its_error(tmp_path: Path) -> None:
    config = tmp_path / "flow.toml"
    config.write_text(f"""
scenes = 2
pairs_a_scene = 2
held_out_scenes = 1
texture_side = 64
examples = 60
network = {{ width = 0.125, input_size = [64, 64] }}
pairs = {{ shapes = 2, shift_px = 3.0, background_px = 2.0 }}
[loop]
out = "{tmp_path / "run"}"
precision = "fp32"
log_every = 5
schedule = {{ batch_size = 4, lr = 1e-3, samples = 160 }}
""")
    trained = run("flow", config)
    assert {"joint_epe", "dis_joint_epe"} <= trained.figures.keys()
    losses = _losses(tmp_path / "run")
    assert sum(losses[-4:]) < sum(losses[:4])
