from __future__ import annotations

import copy
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from posewire_models.center_detector import CenterDetector, CenterDetectorConfig, CenterMaps
from posewire_models.flownet_s import FlowNetS, FlowNetSConfig
from posewire_models.inference import prepare, runner, select_runtime
from posewire_models.openvino_runtime import OpenVinoNetwork
from posewire_models.pose_mobilenet import PoseMobileNet, PoseMobileNetConfig
from posewire_models.pose_resnet import PoseResNet, PoseResNetConfig
from posewire_models.subpixel import SubPixelConvolution

CPU = torch.device("cpu")


def network(kind: str) -> tuple[torch.nn.Module, tuple[int, int, int]]:
    torch.manual_seed(0)
    size = (64, 64)
    built: torch.nn.Module
    if kind == "flow":
        built = FlowNetS(FlowNetSConfig(input_size=size, width=3 / 8))
    elif kind == "detector":
        built = CenterDetector(CenterDetectorConfig(trunk="mobilenet_v2", input_size=size, deconv_filters=(32, 32, 32)))
    elif kind == "pose_mobilenet":
        built = PoseMobileNet(PoseMobileNetConfig(input_size=size, deconv_filters=(32, 32, 32)))
    else:
        built = PoseResNet(PoseResNetConfig(depth=18, input_size=size, deconv_filters=(32, 32, 32)))
    # Fresh weights give next to nothing after so many layers; larger ones make a difference that can be seen.
    for module in built.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.05, 0.2)  # type: ignore[union-attr, operator]
    return built, (6 if kind == "flow" else 3, *size)


@pytest.mark.parametrize("kind", ["pose_resnet", "pose_mobilenet", "detector", "flow"])
def test_openvino_computes_what_torch_computes(kind: str) -> None:
    net, shape = network(kind)
    batches = [torch.randn(batch, *shape) for batch in (1, 3)]
    with torch.inference_mode():
        in_torch = prepare(net, CPU)
        expected = [in_torch(images) for images in batches]
        in_openvino = runner(net, shape, CPU, "openvino")
        found = [in_openvino(images) for images in batches]
    for ours, theirs in zip(found, expected, strict=True):
        assert type(ours) is type(theirs)
        pairs = [(ours, theirs)] if isinstance(theirs, torch.Tensor) else zip(ours, theirs, strict=True)
        for one, other in pairs:
            assert one.shape == other.shape
            scale = float(other.abs().max())
            assert scale > 1e-6
            np.testing.assert_allclose(one / scale, other / scale, atol=1e-4)


def test_only_wide_transposed_convolutions_are_replaced() -> None:
    """Those that OpenVINO is slow at; and one that cannot be replaced runs all the same."""
    net = torch.nn.Sequential(
        torch.nn.ConvTranspose2d(640, 639, 4, 2, 1),
        torch.nn.ConvTranspose2d(639, 640, 4, 2, 1),
        torch.nn.ConvTranspose2d(640, 1, 4, 2),
    )
    images = torch.randn(1, 640, 2, 3)
    with torch.inference_mode():
        expected = net(images)
        found = OpenVinoNetwork(net, (640, 2, 3))(images)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert [type(layer) for layer in net] == [SubPixelConvolution, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose2d]


def test_outputs_keep_their_names() -> None:
    net, shape = network("detector")
    maps = runner(net, shape, CPU, "openvino")(torch.zeros(1, *shape))
    assert isinstance(maps, CenterMaps)
    assert maps.hm.shape[1] == 1
    assert maps.wh.shape[1] == 2


def test_results_stay_what_they_were_when_the_network_runs_again() -> None:
    net, shape = network("pose_mobilenet")
    run = OpenVinoNetwork(prepare(net, CPU), shape)
    first = run(torch.ones(1, *shape))
    kept = first.clone()
    run(torch.zeros(1, *shape))
    assert torch.equal(first, kept)


def test_threads_do_not_mix_up_their_pictures() -> None:
    net, shape = network("pose_mobilenet")
    run = OpenVinoNetwork(prepare(net, CPU), shape)
    images = [torch.full((1, *shape), float(value)) for value in range(4)]
    expected = [run(image).clone() for image in images]
    wrong: list[int] = []

    def ask(which: int) -> None:
        wrong.extend(which for _ in range(10) if not torch.equal(run(images[which]), expected[which]))

    threads = [threading.Thread(target=ask, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_signal_does_no_harm_after_a_network_went_in_another_thread() -> None:
    script = """
import os, signal, threading
import torch
from posewire_models.openvino_runtime import OpenVinoNetwork

networks = [OpenVinoNetwork(torch.nn.Conv2d(3, 4, 3), (3, 16, 16))]
thread = threading.Thread(target=networks.clear)
thread.start()
thread.join()
signal.signal(signal.SIGINT, lambda *_: print("taken"))
os.kill(os.getpid(), signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "taken\n"), done.stderr


def test_auto_takes_openvino_on_the_cpu_alone() -> None:
    assert select_runtime("auto", CPU) == "openvino"
    assert select_runtime("auto", CPU, "float16") == "torch"
    assert select_runtime("auto", torch.device("cuda")) == "cuda-graphs"
    assert select_runtime("torch", CPU) == "torch"


@pytest.mark.parametrize(
    ("runtime", "device", "message"),
    [
        ("tensorrt", "cpu", "use auto, torch, openvino, cuda-graphs"),
        ("openvino", "cuda", "not on cuda; use device cpu"),
        ("cuda-graphs", "cpu", "not on cpu; use device cuda"),
    ],
)
def test_what_cannot_be_is_said(runtime: str, device: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select_runtime(runtime, torch.device(device))


def test_openvino_does_not_compute_in_float16() -> None:
    with pytest.raises(ValueError, match="in float32 or bfloat16, not in float16"):
        select_runtime("openvino", CPU, "float16")
    assert select_runtime("auto", CPU, "float16") == "torch"


def test_bfloat16_is_close_where_the_cpu_has_it() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    try:
        rounded = runner(copy.deepcopy(net), (3, 16, 16), CPU, "openvino", "bfloat16")(images)
    except ValueError as error:
        pytest.skip(str(error))
    exact = runner(net, (3, 16, 16), CPU, "openvino")(images)
    difference = (rounded - exact).abs().max() / exact.abs().max()
    assert 0 < difference < 0.03


def test_without_openvino_it_is_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posewire_models.inference.openvino_is_installed", lambda: False)
    assert select_runtime("auto", CPU) == "torch"
    with pytest.raises(ValueError, match=r"pip install 'posewire\[openvino\]'"):
        select_runtime("openvino", CPU)


def test_nobody_is_told() -> None:
    # Asked in a fresh interpreter, where nobody else has imported it. The telemetry would start processes, too.
    script = """
import multiprocessing, sys, torch
from posewire_models.openvino_runtime import OpenVinoNetwork
multiprocessing.Process.start = lambda self: sys.exit("a process was started")
OpenVinoNetwork(torch.nn.Conv2d(3, 4, 3).eval(), (3, 8, 8))
sys.exit("openvino_telemetry.main" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
