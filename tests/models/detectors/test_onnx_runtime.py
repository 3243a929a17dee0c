"""ONNX detectors: both formats, errors, and a real model on real pictures."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from posewire_models.detectors import onnx_session
from posewire_models.detectors.onnx_runtime import OnnxDetector, OnnxDetectorError
from posewire_models.detectors.onnx_session import OnnxSession, providers
from posewire_models.detectors.selection import DetectorSettings
from posewire_models.detectors.yolox_boxes import decode_yolox, decode_yolox_batch
from posewire_models.frames import Frame
from posewire_models.specs import TENSORRT_VARIABLE

CPU = torch.device("cpu")
_NOBODY = {
    "boxes": np.zeros((0, 4), np.float32),
    "scores": np.zeros(0, np.float32),
    "labels": np.zeros(0, np.int64),
}
_YOLOX_NOBODY = {"output": np.zeros((1, 126, 85), np.float32)}


def _model(
    path: Path,
    outputs: dict[str, np.ndarray],
    size: tuple[int | str, int | str] = (64, 96),
    kind: int = TensorProto.FLOAT,
    metadata: dict[str, str] | None = None,
    batch: int | str = 1,
) -> Path:
    """A model that gives `outputs` whatever it sees."""
    nodes, infos = [], []
    for name, value in outputs.items():
        tensor = onnx.numpy_helper.from_array(value, name)
        nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        infos.append(helper.make_tensor_value_info(name, tensor.data_type, value.shape))
    image = helper.make_tensor_value_info("image", kind, (batch, 3, *size))
    model = helper.make_model(
        helper.make_graph(nodes, "g", [image], infos), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


def _frame(height: int = 128, width: int = 192) -> Frame:
    return Frame(np.zeros((height, width, 3), np.uint8))


@pytest.mark.parametrize("batch_axis", [True, False])
@pytest.mark.parametrize(("person", "metadata"), [(0, {}), (1, {"person_label": "1"}), (1, {"person_label": " 1\n"})])
def test_end_to_end(batch_axis: bool, person: int, metadata: dict[str, str], tmp_path: Path) -> None:
    boxes = np.array([[10, 10, 30, 50], [0, 0, 20, 20], [40, 5, 60, 60]], np.float32)
    outputs = {
        "boxes": boxes,
        "scores": np.array([0.6, 0.9, 0.8], np.float32),
        "labels": np.array([person, 5, person], np.int64),
    }
    if batch_axis:
        outputs = {name: value[None] for name, value in outputs.items()}
    for kind in (TensorProto.FLOAT, TensorProto.UINT8):
        path = _model(tmp_path / "m.onnx", outputs, kind=kind, metadata=metadata)
        (found,) = OnnxDetector(path, DetectorSettings(), CPU)([_frame()])
        np.testing.assert_allclose(found.boxes, boxes[[2, 0]] * 2)  # frame of twice the input's size, best first
        assert found.scores.tolist() == pytest.approx([0.8, 0.6])


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (TensorProto.FLOAT16, torch.float16),
        (TensorProto.FLOAT, torch.float32),
        (TensorProto.DOUBLE, torch.float64),
        (TensorProto.UINT8, torch.uint8),
    ],
)
@pytest.mark.parametrize("outputs", [_NOBODY, _YOLOX_NOBODY], ids=["end to end", "yolox"])
def test_a_model_gets_pictures_of_its_type(
    kind: int, dtype: torch.dtype, outputs: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = OnnxDetector(_model(tmp_path / "m.onnx", outputs, kind=kind), DetectorSettings(), CPU)
    run, given = detector._session.run, []
    monkeypatch.setattr(detector._session, "run", lambda names, images: (given.append(images), run(names, images))[1])
    detector([Frame(np.full((64, 96, 3), (51, 102, 0), np.uint8))])
    assert given[0].dtype is dtype
    pixel = [0, 102, 51] if outputs is _YOLOX_NOBODY else [51, 102, 0] if dtype is torch.uint8 else [0.2, 0.4, 0]
    assert given[0][0, :, 0, 0].tolist() == pytest.approx(pixel, abs=1e-3)


@pytest.mark.parametrize(
    "kind", [np.float16, np.float64, np.int8, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
)
def test_outputs_are_of_any_type_of_number(kind: type[np.number], tmp_path: Path) -> None:
    boxes = np.array([[10, 10, 30, 50]])
    scores = np.array([0.5], kind if np.issubdtype(kind, np.floating) else np.float32)
    outputs = {"boxes": boxes.astype(kind), "scores": scores, "labels": np.array([0], kind)}
    (found,) = OnnxDetector(_model(tmp_path / "m.onnx", outputs), DetectorSettings(), CPU)([_frame()])
    np.testing.assert_array_equal(found.boxes, boxes * 2)
    assert found.scores.tolist() == [0.5]


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_yolox_of_another_type(kind: type[np.number], tmp_path: Path) -> None:
    raw = np.zeros((1, 126, 85), kind)
    raw[0, 40, 2:6] = 0, 0, 0.5, 1.0
    (found,) = OnnxDetector(_model(tmp_path / "m.onnx", {"output": raw}), DetectorSettings(), CPU)([_frame()])
    assert found.scores.tolist() == [0.5]


def test_yolox_decoding_equals_a_plain_loop() -> None:
    size = (64, 96)
    raw = np.random.default_rng(0).normal(size=(1, 126, 8)).astype(np.float32)
    boxes, scores = decode_yolox(torch.from_numpy(raw), size, label=1)
    expected = []
    place = 0
    for stride in (8, 16, 32):
        for row in range(size[0] // stride):
            for column in range(size[1] // stride):
                x, y, log_w, log_h, objectness, *classes = raw[0, place].tolist()
                place += 1
                if int(np.argmax(classes)) == 1:
                    cx, cy = (x + column) * stride, (y + row) * stride
                    w, h = math.exp(log_w) * stride, math.exp(log_h) * stride
                    box = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
                    expected.append((box, objectness * classes[1]))
    assert place == raw.shape[1]
    np.testing.assert_allclose(boxes.numpy(), [box for box, _ in expected], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(scores.numpy(), [score for _, score in expected], rtol=1e-5)


def test_yolox_of_a_batch_has_the_candidates_of_each() -> None:
    """Fixed shapes for a GPU, plain selection for a CPU: the same boxes with the same scores."""
    size, label = (64, 96), 1
    raw = torch.from_numpy(np.random.default_rng(0).uniform(0, 1, size=(3, 126, 8)).astype(np.float32))
    best = decode_yolox_batch(raw, size, label)
    assert best.shape == (3, 126, 5)
    for row, found in enumerate(best):
        boxes, scores = decode_yolox(raw[row : row + 1], size, label)
        order = scores.argsort(descending=True)
        torch.testing.assert_close(found[: len(order), 4], scores[order])
        torch.testing.assert_close(found[: len(order), :4], boxes[order])
        assert (found[len(order) :, 4] == 0).all()


@pytest.mark.parametrize(
    ("inside", "outside", "takes"),
    [
        ([1, 3, 64, 96], [1, 3, 64, 96], False),
        (["b", 3, 64, 96], ["b", 3, 64, 96], True),
        (["b", 3, 64, 96], ["n"], False),  # the first axis counts people, not pictures
    ],
)
def test_models_say_whether_they_take_batches(
    inside: list[int | str], outside: list[int | str], takes: bool, tmp_path: Path
) -> None:
    if len(outside) == 1:
        axes = onnx.numpy_helper.from_array(np.array([1, 2, 3]), "axes")
        nodes = [helper.make_node("ReduceMax", ["image", "axes"], ["out"], keepdims=0)]
    else:
        axes, nodes = None, [helper.make_node("Identity", ["image"], ["out"])]
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("image", inside), ("out", outside))
    ]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], initializer=[axes] if axes else [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    onnx.save(model, tmp_path / "m.onnx")
    session = OnnxSession(tmp_path / "m.onnx", CPU)
    assert session.takes_batches(["out"]) is takes
    (found,) = session.run(["out"], torch.ones(1, 3, 64, 96))
    assert found.shape[0] == 1


def test_tensorrt_is_used_only_where_it_is_asked_for() -> None:
    gpu, both = torch.device("cuda", 1), ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]

    def names(device: torch.device, available: list[str], environment: dict[str, str]) -> list[str]:
        return [each if isinstance(each, str) else each[0] for each in providers(device, available, environment, 7)]

    assert names(CPU, both, {TENSORRT_VARIABLE: "1"}) == both[2:]
    assert names(gpu, both, {}) == both[1:]
    assert names(gpu, both, {TENSORRT_VARIABLE: "1"}) == both
    assert names(gpu, both[2:], {TENSORRT_VARIABLE: "1"}) == both[2:]
    ((_, options), _) = providers(gpu, both, {}, 7)
    assert options == {"device_id": "1", "user_compute_stream": "7", "cudnn_conv_algo_search": "HEURISTIC"}


def test_where_tensorrt_fails_the_next_provider_keeps_its_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """ONNX Runtime's own second attempt forgets all options: results would be read before they are there."""
    asked: list[Any] = []
    monkeypatch.setattr("onnxruntime.preload_dlls", lambda: None)

    def session(*_: object, providers: list[Any], enable_fallback: int) -> Any:
        assert not enable_fallback
        asked.append([each if isinstance(each, str) else each[0] for each in providers])
        if "TensorrtExecutionProvider" in asked[-1]:
            assert Path(providers[0][1]["trt_engine_cache_path"]).parent.is_dir()  # it makes only the last folder
            raise RuntimeError("no libnvinfer.so")
        return dict(providers[:1])

    monkeypatch.setenv(TENSORRT_VARIABLE, "1")
    monkeypatch.setenv("POSEWIRE_CACHE", f"{tmp_path / 'not' / 'yet'}")
    monkeypatch.setattr("onnxruntime.InferenceSession", session)
    gpus = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: gpus)
    (tmp_path / "people.onnx").touch()
    stream: Any = SimpleNamespace(cuda_stream=7)
    opened: Any = onnx_session._open(tmp_path / "people.onnx", torch.device("cuda", 0), stream)
    assert opened["CUDAExecutionProvider"]["user_compute_stream"] == "7"
    assert asked == [gpus, gpus[1:]]
    assert "TensorrtExecutionProvider does not take people.onnx: no libnvinfer.so" in caplog.text


@pytest.mark.parametrize("available", [["CUDAExecutionProvider", "CPUExecutionProvider"], ["CPUExecutionProvider"]])
def test_cuda_is_loaded_before_a_session_needs_it(
    available: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Torch has loaded most of it, but no longer cuRAND, without which everything would run on the CPU."""
    happened: list[str] = []

    def load() -> None:
        happened.append("load")
        print("Failed to load libcurand.so.10:\nno such file")

    monkeypatch.setattr("onnxruntime.preload_dlls", load)
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **__: happened.append("open"))
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: available)
    (tmp_path / "people.onnx").touch()
    stream: Any = SimpleNamespace(cuda_stream=7)
    onnx_session._open(tmp_path / "people.onnx", torch.device("cuda", 0), stream)
    onnx_session._open(tmp_path / "people.onnx", CPU, None)
    loads = len(available) > 1
    assert happened == [*(["load"] if loads else []), "open", "open"]
    assert ("Failed to load libcurand.so.10: no such file" in caplog.text) is loads
    assert capfd.readouterr() == ("", "")


def test_onnx_runtime_has_as_many_threads_as_torch(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        detector = OnnxDetector(_model(tmp_path / "m.onnx", _NOBODY), DetectorSettings(), CPU)
    finally:
        torch.set_num_threads(before)
    assert detector._session._session.get_session_options().intra_op_num_threads == 3


def test_yolox_suppresses_doubles(tmp_path: Path) -> None:
    raw = np.zeros((1, 126, 85), np.float32)
    raw[..., 2:4] = math.log(4)
    raw[0, 0, 4:6] = 0.9, 1.0  # cell (0, 0): a person of 32 by 32 around the origin
    raw[0, 1, 4:6] = 0.8, 1.0  # cell (1, 0): the same, 8 pixels to the right; IoU 0.6
    raw[0, 40, 4:6] = 0.7, 1.0  # far away
    raw[0, 41, 4], raw[0, 41, 5 + 3] = 0.95, 1.0  # a car
    path = _model(tmp_path / "m.onnx", {"output": raw})
    (found,) = OnnxDetector(path, DetectorSettings(), CPU)([_frame()])
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])
    (found,) = OnnxDetector(path, DetectorSettings(nms_iou=0.7), CPU)([_frame()])
    assert found.scores.tolist() == pytest.approx([0.9, 0.8, 0.7])


def test_other_files_are_refused(tmp_path: Path) -> None:
    settings = DetectorSettings()
    with pytest.raises(OnnxDetectorError, match="no ONNX model at"):
        OnnxDetector(tmp_path / "none.onnx", settings, CPU)
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(OnnxDetectorError, match="ONNX Runtime can open"):
        OnnxDetector(tmp_path / "broken.onnx", settings, CPU)
    path = _model(tmp_path / "m.onnx", {"logits": np.zeros((1, 1000), np.float32)})
    with pytest.raises(OnnxDetectorError, match=r"outputs logits \[1, 1000\].*known are YOLOX raw"):
        OnnxDetector(path, settings, CPU)


@pytest.mark.parametrize(
    ("outputs", "changes", "says"),
    [
        (_YOLOX_NOBODY, {"size": ("h", "w")}, "fixed size"),
        (_NOBODY, {"size": (0, 96)}, r"sides outside 1\.\.4096 pixels; export it"),
        (_NOBODY, {"size": (10**6, 10**6)}, r"\[1, 3, 1000000, 1000000\] has sides outside 1\.\.4096 pixels"),
        (_NOBODY, {"batch": 4}, r"m\.onnx: input image \[4, 3, 64, 96\] is for 4 pictures per run.*first axis of 1"),
        (_NOBODY, {"kind": TensorProto.INT32}, r"m\.onnx: input image takes no picture.*export it with one of float16"),
        (_YOLOX_NOBODY, {"metadata": {"person_label": "80"}}, r"person_label is '80'.*in 0\.\.79: set it"),
        (_YOLOX_NOBODY, {"metadata": {"person_label": "-1"}}, r"person_label is '-1'.*in 0\.\.79"),
        (_NOBODY, {"metadata": {"person_label": "9" * 5000}}, r"person_label is '9{40}'.*in 0\.\.16777215"),
        (_NOBODY, {"metadata": {"person_label": "person"}}, r"person_label is 'person'.*whole number"),
        # scores of every class, which nothing says beforehand
        (
            _NOBODY | {"scores": np.zeros((5, 80), np.float32)},
            {},
            r"m\.onnx fails on a black frame: .*export it so that .*\(1, 3, 64, 96\) .*scores \(1, n\)",
        ),
        # These would fail on every frame but a black one, in which they see nobody.
        (_NOBODY | {"scores": np.zeros((0, 80), np.float32)}, {}, r"scores \(0, 80\): not 1 per box; export it"),
        (_NOBODY | {"boxes": np.zeros((1, 0, 5), np.float32)}, {}, r"boxes \(1, 0, 5\): not 4 per box; export it"),
    ],
)
def test_models_that_would_fail_on_every_frame_are_refused(
    outputs: dict[str, np.ndarray], changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    path = _model(tmp_path / "m.onnx", outputs, **changes)
    with pytest.raises(OnnxDetectorError, match=says) as refused:
        OnnxDetector(path, DetectorSettings(), CPU)
    assert "\n" not in str(refused.value)


def test_a_model_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime would speak of a system error by its number."""

    def closed(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    path = _model(tmp_path / "m.onnx", _NOBODY)
    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(OnnxDetectorError, match=r"m\.onnx cannot be read: Permission denied"):
        OnnxDetector(path, DetectorSettings(), CPU)


def test_a_model_without_input_is_refused(tmp_path: Path) -> None:
    path = _model(tmp_path / "m.onnx", _NOBODY)
    model = onnx.load(path)
    del model.graph.input[:]
    onnx.save(model, path)
    with pytest.raises(OnnxDetectorError, match=r"takes one input.*got none"):
        OnnxDetector(path, DetectorSettings(), CPU)


def test_nothing_is_said_on_a_machine_without_gpu(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = _model(tmp_path / "m.onnx", _YOLOX_NOBODY)
    OnnxDetector(path, DetectorSettings(), CPU)([_frame()])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("clip", "frame", "people"),
    [
        ("squats.mp4", 20, 1),
        ("skeleton_demo.mp4", 10, 2),
        ("structuralize.mp4", 20, 2),
    ],
)
def test_finds_people_in_real_pictures(clip: str, frame: int, people: int, shared_data: Path) -> None:
    detector = OnnxDetector(shared_data / "teachers" / "yolox_nano.onnx", DetectorSettings(), CPU)
    with av.open(str(shared_data / "video" / clip)) as video:
        picture = next(image for number, image in enumerate(video.decode(video=0)) if number == frame)
    (found,) = detector([Frame(picture.to_ndarray(format="rgb24"))])
    sure = found.boxes[found.scores > 0.5]
    assert len(sure) == people
    assert (sure[:, 3] - sure[:, 1] > 0.2 * picture.height).all()
    assert (sure[:, 3] - sure[:, 1] > sure[:, 2] - sure[:, 0]).all()  # people stand
