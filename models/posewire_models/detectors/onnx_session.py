"""An ONNX model in ONNX Runtime: the choice of a provider, and tensors in and out without a detour through the CPU.

On a GPU it is the CUDA provider, on a stream that is ordered with the caller's. TensorRT is faster but takes minutes to
build an engine at the first start of each model, so it is used only if `POSEWIRE_TENSORRT=1` is set; engines are kept
in posewire's cache.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from posewire_models.device_transfer import to_host
from posewire_models.one_line import in_one_line
from posewire_models.published.store import default_folder
from posewire_models.specs import TENSORRT_VARIABLE

__all__ = ["OnnxDetectorError", "OnnxSession", "providers"]

log = logging.getLogger(__name__)

_ERRORS_ONLY = 3
_KINDS = {
    "tensor(float16)": torch.float16,
    "tensor(float)": torch.float32,
    "tensor(double)": torch.float64,
    "tensor(uint8)": torch.uint8,
    "tensor(int32)": torch.int32,
    "tensor(int64)": torch.int64,
}
_NUMPY = {kind: torch.empty(0, dtype=kind).numpy().dtype.type for kind in _KINDS.values()}
_ON_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"


class OnnxDetectorError(ValueError):
    """The file is not an ONNX model, or has no known detector format."""


class OnnxSession:
    """A model with one input.

    Args:
        path: the model.
        device: of the tensors that it is called with. On a CUDA device, the model runs there if ONNX Runtime supports
            it, else the tensors are copied to the CPU.

    Attributes:
        inputs: name -> shape; an axis without a fixed size is a string or None.
        outputs: name -> shape.
        metadata: of the model.
        kinds: name of an input or output -> type of its elements; None for types that are not supported here.

    Raises:
        OnnxDetectorError: the file is missing or unreadable.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        if not path.is_file():
            raise OnnxDetectorError(f"no ONNX model at {path}")
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._session = _open(path, device, self._stream)
        self._binds = self._stream is not None and self._session.get_providers()[0] != _ON_CPU
        if self._stream is not None and not self._binds:
            log.warning(
                "ONNX Runtime has no CUDA here, %s runs on the CPU: pip install 'onnxruntime-gpu[cuda]' for the CUDA "
                "that torch has",
                path.name,
            )
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.inputs: dict[str, list[Any]] = {each.name: each.shape for each in inputs}
        self.outputs: dict[str, list[Any]] = {each.name: each.shape for each in outputs}
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.kinds = {each.name: _KINDS.get(each.type) for each in (*inputs, *outputs)}

    def takes_batches(self, names: Sequence[str]) -> bool:
        """Whether the first axis of the input and of these outputs may have any size."""
        shapes = [*self.inputs.values(), *(self.outputs[name] for name in names)]
        return all(len(shape) > 1 and not isinstance(shape[0], int) for shape in shapes)

    def run(self, names: Sequence[str], images: Tensor) -> list[Tensor]:
        """The outputs with these names: on `device` if their size is known beforehand, else on the CPU."""
        (source,) = self.inputs
        if self._binds:
            return self._run_bound(names, source, images.contiguous())
        found = self._session.run(list(names), {source: to_host(images).numpy()})
        return [_tensor(output) for output in found]

    def _run_bound(self, names: Sequence[str], source: str, images: Tensor) -> list[Tensor]:
        assert self._stream is not None
        binding = self._session.io_binding()
        index = self._device.index or 0
        binding.bind_input(source, "cuda", index, _NUMPY[images.dtype], tuple(images.shape), images.data_ptr())
        together, bound = self.takes_batches(names), {}
        for name in names:
            kind = self.kinds[name]
            shape = [len(images), *self.outputs[name][1:]] if together else self.outputs[name]
            if kind is None or not all(isinstance(side, int) for side in shape):
                binding.bind_output(name, "cpu")
                continue
            bound[name] = torch.empty(shape, dtype=kind, device=self._device)
            binding.bind_output(name, "cuda", index, _NUMPY[kind], tuple(shape), bound[name].data_ptr())
        caller = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(caller)
        options = onnxruntime.RunOptions()
        if len(bound) == len(names):
            # Otherwise ONNX Runtime itself must wait, for outputs that it copies to the CPU.
            options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self._session.run_with_iobinding(binding, options)
        caller.wait_stream(self._stream)
        for tensor in (images, *bound.values()):
            tensor.record_stream(self._stream)
        values = dict(zip(names, binding.get_outputs(), strict=True))
        return [bound[name] if name in bound else _tensor(values[name].numpy()) for name in names]


def _tensor(output: Any) -> Tensor:
    array = np.asarray(output)
    # ONNX Runtime's uint64 is C's `unsigned long long`, as wide as the type that torch accepts.
    return torch.from_numpy(array.view(np.dtype(array.dtype.str)))


def providers(
    device: torch.device, available: Sequence[str], environment: Mapping[str, str], stream: int
) -> list[str | tuple[str, dict[str, str]]]:
    """Execution providers for a model on `device`, in order of preference.

    Args:
        device: of the tensors.
        available: providers in this build of ONNX Runtime.
        environment: variables that may enable TensorRT.
        stream: the CUDA stream to work on, as a number.
    """
    # Named explicitly: by default, the GPU build tries every accelerator and warns of each it does not find.
    chosen: list[str | tuple[str, dict[str, str]]] = [_ON_CPU]
    if device.type != "cuda":
        return chosen
    options = {"device_id": str(device.index or 0), "user_compute_stream": str(stream)}
    if _CUDA in available:
        # The default tries every algorithm for each new batch size, while serving.
        chosen.insert(0, (_CUDA, options | {"cudnn_conv_algo_search": "HEURISTIC"}))
    if environment.get(TENSORRT_VARIABLE) == "1" and _TENSORRT in available:
        engines = {
            "trt_fp16_enable": "True",
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": str(default_folder() / "tensorrt"),
        }
        chosen.insert(0, (_TENSORRT, options | engines))
    return chosen


def _open(path: Path, device: torch.device, stream: torch.cuda.Stream | None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = torch.get_num_threads()
    number = 0 if stream is None else stream.cuda_stream
    available = onnxruntime.get_available_providers()
    chosen = providers(device, available, os.environ, number)
    if stream is not None and _CUDA in available:
        _load_cuda()
    try:
        path.open("rb").close()
    except OSError as error:
        raise OnnxDetectorError(f"{path} cannot be read: {error.strerror}") from None
    # ONNX Runtime's own fallback would drop the stream, and then nothing would wait for its results.
    open_with = partial(onnxruntime.InferenceSession, path, options, enable_fallback=0)
    while True:
        try:
            if chosen[0][0] == _TENSORRT:  # whose folder ONNX Runtime makes, but not those above it
                default_folder().mkdir(parents=True, exist_ok=True)
            return open_with(providers=chosen)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors have no common base class
            said = in_one_line(error)
            if len(chosen) == 1:
                raise OnnxDetectorError(f"{path} is not a model that ONNX Runtime can open: {said}") from None
            log.warning("%s does not take %s: %s", chosen[0][0], path.name, said)
            del chosen[0]


def _load_cuda() -> None:
    """Load the CUDA libraries that ONNX Runtime needs and does not find by itself: those that torch has not loaded."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        onnxruntime.preload_dlls()
    if said.getvalue():
        log.warning("ONNX Runtime: %s", in_one_line(said.getvalue()))
