"""PoseResNet: published sizes, and the same numbers as independent restatements of its two halves."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet18, resnet50
from torchvision.models.feature_extraction import create_feature_extractor

from posewire_models.network_cost import count_parameters, network_cost
from posewire_models.pose_resnet import TABLE_2, PoseResNet, PoseResNetConfig
from posewire_models.trunks import ResNetTrunk
from posewire_models.weights import load_strict


@pytest.mark.parametrize(
    ("depth", "parameters_m", "gmac"),
    [
        (50, 34.0, {(256, 192): 5.4, (384, 288): 12.2, (128, 96): 1.4}),
        (101, 53.0, {(256, 192): 9.1, (384, 288): 20.4, (128, 96): 2.3}),
        (152, 68.6, {(256, 192): 12.7, (384, 288): 28.6, (128, 96): 3.2}),
    ],
)
def test_published_size_and_cost(depth: int, parameters_m: float, gmac: dict[tuple[int, int], float]) -> None:
    for size, expected in gmac.items():
        with torch.device("meta"):
            network = PoseResNet(PoseResNetConfig(depth=depth, input_size=size))
        assert round(count_parameters(network) / 1e6, 1) == parameters_m
        assert round(network_cost(network, (3, *size)).multiply_adds / 1e9, 1) == expected


@pytest.mark.parametrize(
    ("row", "heatmap"),
    [
        ("a", (64, 48)),
        ("b", (32, 24)),  # two deconvolutions: stride 8
        ("c", (64, 48)),
        ("d", (64, 48)),
        ("e", (64, 48)),
        ("f", (64, 48)),
        ("g", (32, 24)),
        ("h", (96, 72)),
    ],
)
def test_rows_of_table_2(row: str, heatmap: tuple[int, int]) -> None:
    config = TABLE_2[row]
    with torch.device("meta"):
        network = PoseResNet(config).eval()
    assert network(torch.empty(2, 3, *config.input_size, device="meta")).shape == (2, 17, *heatmap)
    assert config.output_size == heatmap


def test_attribute_names_are_the_published_ones() -> None:
    with torch.device("meta"):
        keys = PoseResNet(PoseResNetConfig()).state_dict().keys()
    assert {key.split(".")[0] for key in keys} == {
        *("conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "deconv_layers", "final_layer")
    }
    # Transposed convolution, batch norm and ReLU take three places each; the last are the 1x1 convolution's.
    assert {"deconv_layers.0.weight", "deconv_layers.4.running_mean", "deconv_layers.6.weight"} <= keys
    assert {"layer4.0.downsample.0.weight", "layer3.5.conv3.weight", "final_layer.bias"} <= keys


@pytest.mark.parametrize(("depth", "published"), [(18, resnet18), (50, resnet50)])
def test_trunk_equals_torchvision(depth: int, published: Callable[..., nn.Module]) -> None:
    reference = published(weights=None).eval()
    network = PoseResNet(PoseResNetConfig(depth=depth)).eval()
    state = {key: value for key, value in reference.state_dict().items() if not key.startswith("fc.")}
    head = {key: value for key, value in network.state_dict().items() if key.startswith(("deconv", "final"))}
    load_strict(network, state | head, "torchvision")
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        c5 = create_feature_extractor(reference, ["layer4"])(images)["layer4"]
        torch.testing.assert_close(network(images), network.final_layer(network.deconv_layers(c5)))


@pytest.mark.parametrize(
    ("kernel", "padding", "output_padding"),
    [(4, 1, 0), (3, 1, 1), (2, 0, 0)],  # the published code's table
)
def test_head_equals_plain_restatement(kernel: int, padding: int, output_padding: int) -> None:
    config = PoseResNetConfig(depth=18, width=0.25, deconv_filters=(16, 8), deconv_kernels=(kernel, kernel), joints=5)
    network = _with_random_norms(PoseResNet(config)).eval()
    state = network.state_dict()
    x = torch.randn(2, 128, 4, 3)
    with torch.inference_mode():
        result = network.final_layer(network.deconv_layers(x))
        for place in (0, 3):
            conv, norm = f"deconv_layers.{place}", f"deconv_layers.{place + 1}"
            x = functional.conv_transpose2d(
                x, state[f"{conv}.weight"], stride=2, padding=padding, output_padding=output_padding
            )
            mean, variance = (state[f"{norm}.running_{what}"].view(-1, 1, 1) for what in ("mean", "var"))
            x = (x - mean) / (variance + 1e-5).sqrt()
            x = (x * state[f"{norm}.weight"].view(-1, 1, 1) + state[f"{norm}.bias"].view(-1, 1, 1)).clamp(min=0)
        x = torch.einsum("bchw,kc->bkhw", x, state["final_layer.weight"][:, :, 0, 0])
        x = x + state["final_layer.bias"].view(-1, 1, 1)
    torch.testing.assert_close(result, x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 20}, "18, 34, 50, 101, 152"),
        ({"input_size": (250, 192)}, "multiples of 32"),
        ({"deconv_kernels": (4, 4)}, "2 deconv_kernels for 3 deconv_filters"),
        ({"deconv_kernels": (4, 5, 4)}, "one of"),
        ({"deconv_filters": (), "deconv_kernels": ()}, "1 to 5"),
        ({"input_size": (320000, 320000)}, "up to 4096"),
        ({"deconv_filters": (10**7,) * 3}, r"1\.\.2048"),
        ({"joints": 0}, r"1\.\.1024"),
        ({"joints": 10**9}, r"1\.\.1024"),
        ({"width": 0.0}, r"\(0, 4\]"),
        ({"width": 0.3}, "multiple of 1/64"),
        ({"pixel_mean": (float("nan"), 0.0, 0.0)}, r"pixel_mean \(nan, 0.0, 0.0\) must be .* in 0\.\.255"),
        ({"pixel_mean": (0.0, 0.0, 1e300)}, r"in 0\.\.255"),
        ({"pixel_mean": (0.0, 0.0)}, "three numbers"),
        ({"pixel_std": (1.0, float("inf"), 1.0)}, r"in 0\.001\.\.1000"),
        ({"pixel_std": (1.0, 1e-300, 1.0)}, r"in 0\.001\.\.1000"),
        ({"pixel_std": (1.0, 0.0, 1.0)}, r"in 0\.001\.\.1000"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PoseResNetConfig(**settings)  # type: ignore[arg-type]


def test_width_that_gives_no_whole_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="whole channels"):
        ResNetTrunk(18, 0.3)


def test_equals_the_sequential_net_of_the_first_weights(shared_data: Path) -> None:
    """The nets the first weights were trained with were written independently, as one `nn.Sequential`."""
    state = load_file(shared_data / "weights" / "first_pose_resnet18_w050_128x96.safetensors")
    sequential = _first_network().eval()
    sequential.load_state_dict(state)
    config = PoseResNetConfig(depth=18, width=0.5, joints=19, input_size=(128, 96), deconv_filters=(128, 128, 128))
    network = PoseResNet(config).eval()
    load_strict(network, {_published_name(key): value for key, value in state.items()}, "first weights")
    crops = torch.randn(2, 3, 128, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(network(crops), sequential(crops), rtol=0, atol=1e-5)


class _Block(nn.Module):
    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        stride = 1 if channels == out_channels else 2
        self.c1 = nn.Conv2d(channels, out_channels, 3, stride, 1, bias=False)
        self.b1 = nn.BatchNorm2d(out_channels)
        self.c2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.b2 = nn.BatchNorm2d(out_channels)
        if stride == 2:
            self.d = nn.Sequential(nn.Conv2d(channels, out_channels, 1, 2, bias=False), nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.d(x) if hasattr(self, "d") else x
        return (self.b2(self.c2(self.b1(self.c1(x)).relu())) + shortcut).relu()


def _first_network() -> nn.Sequential:
    widths = (32, 32, 32, 64, 64, 128, 128, 256, 256)
    layers: list[nn.Module] = [nn.Conv2d(3, 32, 7, 2, 3, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    layers += [nn.MaxPool2d(3, 2, 1), *(_Block(*pair) for pair in pairwise(widths))]
    for channels in (256, 128, 128):
        layers += [nn.ConvTranspose2d(channels, 128, 4, 2, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(128, 19, 1))


def _published_name(key: str) -> str:
    place, _, rest = key.partition(".")
    number = int(place)
    if 4 <= number <= 11:
        stage, block = divmod(number - 4, 2)
        part, _, rest = rest.partition(".")
        names = {"c1": "conv1", "b1": "bn1", "c2": "conv2", "b2": "bn2", "d": "downsample"}
        return f"layer{stage + 1}.{block}.{names[part]}.{rest}"
    if 12 <= number <= 20:
        return f"deconv_layers.{number - 12}.{rest}"
    return {0: "conv1", 1: "bn1", 21: "final_layer"}[number] + f".{rest}"


def _with_random_norms(network: PoseResNet) -> PoseResNet:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.1, 0.1)
    nn.init.normal_(network.final_layer.weight, std=0.1)
    return network
