"""The names and shapes in published checkpoints, stated from the published networks and not from ours."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torchvision.models import get_model

__all__ = [
    "Shapes",
    "authors_pose_resnet",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "filled",
    "flownet2_pytorch",
    "mmflow_flownets",
    "mmpose_resnet",
    "torchvision_mobile",
]

Shapes = dict[str, tuple[int, ...]]

_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def _norm(name: str, channels: int, counter: bool = True) -> Iterator[tuple[str, tuple[int, ...]]]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    if counter:
        yield f"{name}.num_batches_tracked", ()


def _resnet(depth: int, counters: bool = True) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A ResNet of bottlenecks without classifier."""
    yield "conv1.weight", (64, 3, 7, 7)
    yield from _norm("bn1", 64, counters)
    channels = 64
    for stage, blocks in enumerate(_BLOCKS[depth]):
        planes = 64 << stage
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            convolutions = ((planes, channels, 1, 1), (planes, planes, 3, 3), (4 * planes, planes, 1, 1))
            for number, shape in enumerate(convolutions, start=1):
                yield f"{name}.conv{number}.weight", shape
                yield from _norm(f"{name}.bn{number}", shape[0], counters)
            if block == 0:
                yield f"{name}.downsample.0.weight", (4 * planes, channels, 1, 1)
                yield from _norm(f"{name}.downsample.1", 4 * planes, counters)
            channels = 4 * planes


def _head(joints: int, counters: bool = True) -> Iterator[tuple[str, tuple[int, ...]]]:
    for number, channels in ((0, 2048), (3, 256), (6, 256)):
        yield f"deconv_layers.{number}.weight", (channels, 256, 4, 4)
        yield from _norm(f"deconv_layers.{number + 1}", 256, counters)
    yield "final_layer.weight", (joints, 256, 1, 1)
    yield "final_layer.bias", (joints,)


def mmpose_resnet(depth: int, joints: int = 17, head: str = "head") -> Shapes:
    """MMPose's top-down networks; the head was called `keypoint_head` before 1.0."""
    trunk = {f"backbone.{name}": shape for name, shape in _resnet(depth)}
    return trunk | {f"{head}.{name}": shape for name, shape in _head(joints)}


def authors_pose_resnet(depth: int, *, counters: bool = False) -> Shapes:
    """microsoft/human-pose-estimation.pytorch; PyTorch 0.4 had no counters in its batch norms."""
    return dict(_resnet(depth, counters)) | dict(_head(17, counters))


_FLOW_CONVOLUTIONS: Shapes = {
    "conv1": (64, 6, 7, 7), "conv2": (128, 64, 5, 5), "conv3": (256, 128, 5, 5), "conv3_1": (256, 256, 3, 3),
    "conv4": (512, 256, 3, 3), "conv4_1": (512, 512, 3, 3), "conv5": (512, 512, 3, 3), "conv5_1": (512, 512, 3, 3),
    "conv6": (1024, 512, 3, 3), "conv6_1": (1024, 1024, 3, 3),
}  # fmt: skip
# level -> channels that it predicts flow from, channels that it hands on
_FLOW_LEVELS = {6: (1024, 512), 5: (1026, 256), 4: (770, 128), 3: (386, 64), 2: (194, 0)}


def flownet2_pytorch() -> Shapes:
    """FlowNet2-S of NVIDIA's flownet2-pytorch."""
    shapes: Shapes = {}
    for name, shape in _FLOW_CONVOLUTIONS.items():
        shapes |= {f"{name}.0.weight": shape, f"{name}.0.bias": shape[:1]}
    for level, (channels, handed_on) in _FLOW_LEVELS.items():
        shapes |= {f"predict_flow{level}.weight": (2, channels, 3, 3), f"predict_flow{level}.bias": (2,)}
        if handed_on:
            shapes |= {
                f"deconv{level - 1}.0.weight": (channels, handed_on, 4, 4),
                f"deconv{level - 1}.0.bias": (handed_on,),
            }
            shapes[f"upsampled_flow{level}_to_{level - 1}.weight"] = (2, 2, 4, 4)
    return shapes


def mmflow_flownets() -> Shapes:
    """MMFlow's FlowNetS."""
    shapes: Shapes = {}
    places = [(0, 0), (1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (4, 0), (4, 1), (5, 0), (5, 1)]
    for (level, place), shape in zip(places, _FLOW_CONVOLUTIONS.values(), strict=True):
        name = f"encoder.layers.{level}.layers.{place}.conv"
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for level, (channels, handed_on) in _FLOW_LEVELS.items():
        name = f"decoder.decoders.level{level}"
        shapes |= {f"{name}.pred_out.weight": (2, channels, 3, 3), f"{name}.pred_out.bias": (2,)}
        if handed_on:
            shapes[f"{name}.deconv_out.deconvs.0.weight"] = (channels, handed_on, 4, 4)
            shapes[f"{name}.deconv_out.deconvs.0.bias"] = (handed_on,)
            shapes[f"{name}.upsample_pred.deconvs.0.weight"] = (2, 2, 4, 4)
    return shapes


def fasterrcnn_resnet50_fpn() -> Shapes:
    """The file of torchvision 0.3: frozen batch norms without counters, the pyramid's and the RPN's names of then."""
    shapes = {f"backbone.body.{name}": shape for name, shape in _resnet(50, counters=False)}
    for level, channels in enumerate((256, 512, 1024, 2048)):
        for block, shape in (("inner", (256, channels, 1, 1)), ("layer", (256, 256, 3, 3))):
            name = f"backbone.fpn.{block}_blocks.{level}"
            shapes |= {f"{name}.weight": shape, f"{name}.bias": (256,)}
    shapes |= {"rpn.head.conv.weight": (256, 256, 3, 3), "rpn.head.conv.bias": (256,)}
    shapes |= {"roi_heads.box_head.fc6.weight": (1024, 12544), "roi_heads.box_head.fc6.bias": (1024,)}
    shapes |= {"roi_heads.box_head.fc7.weight": (1024, 1024), "roi_heads.box_head.fc7.bias": (1024,)}
    return shapes | _predictions(anchors=3)


def fasterrcnn_resnet50_fpn_v2() -> Shapes:
    """The file of torchvision 0.13: batch norms everywhere, a deeper RPN, convolutions before the boxes' predictor."""
    shapes = {f"backbone.body.{name}": shape for name, shape in _resnet(50)}
    for level, channels in enumerate((256, 512, 1024, 2048)):
        for block, shape in (("inner", (256, channels, 1, 1)), ("layer", (256, 256, 3, 3))):
            name = f"backbone.fpn.{block}_blocks.{level}"
            shapes |= {f"{name}.0.weight": shape, **dict(_norm(f"{name}.1", 256))}
    for number in range(2):
        name = f"rpn.head.conv.{number}.0"
        shapes |= {f"{name}.weight": (256, 256, 3, 3), f"{name}.bias": (256,)}
    for number in range(4):
        name = f"roi_heads.box_head.{number}"
        shapes |= {f"{name}.0.weight": (256, 256, 3, 3), **dict(_norm(f"{name}.1", 256))}
    shapes |= {"roi_heads.box_head.5.weight": (1024, 12544), "roi_heads.box_head.5.bias": (1024,)}
    return shapes | _predictions(anchors=3)


def _predictions(anchors: int) -> Shapes:
    shapes: Shapes = {}
    for name, shape in {
        "rpn.head.cls_logits": (anchors, 256, 1, 1),
        "rpn.head.bbox_pred": (4 * anchors, 256, 1, 1),
        "roi_heads.box_predictor.cls_score": (91, 1024),
        "roi_heads.box_predictor.bbox_pred": (364, 1024),
    }.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


@functools.cache  # to make the network takes a second
def torchvision_mobile(name: str) -> Shapes:
    """Torchvision's own names; those of the pyramid and the RPN were others when the files were made."""
    with torch.device("meta"):
        network = get_model(name, weights=None, weights_backbone=None)
    shapes: Shapes = {}
    for key, value in network.state_dict().items():
        if "fasterrcnn" in name and key.endswith("num_batches_tracked"):
            continue  # frozen batch norms
        if "fpn" in key:
            key = key.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        shapes[key.replace("rpn.head.conv.0.0.", "rpn.head.conv.")] = tuple(value.shape)
    return shapes


def filled(
    shapes: Mapping[str, tuple[int, ...]], seed: int = 0, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Random values that let something through: convolutions keep the variance, batch norms are near the identity."""
    noise = torch.empty(1_000_003).uniform_(-1, 1, generator=torch.Generator().manual_seed(seed))
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1000)
            continue
        # Cut from the same noise, elsewhere for each tensor: quick, and no two are alike.
        start, count = (7919 * len(state)) % (len(noise) // 2), math.prod(shape)
        source = noise if start + count <= len(noise) else noise.repeat(1 + (start + count) // len(noise))
        values = source[start : start + count].view(shape)
        if len(shape) > 1:
            values = values * (4.0 / values[0].numel()) ** 0.5
        elif name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
            values = 0.7 + 0.1 * values
        else:
            values = 0.1 * values
        state[name] = values.to(dtype)
    return state
