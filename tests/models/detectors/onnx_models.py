"""ONNX models that tests make."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

__all__ = ["yolox_of_pools"]


def yolox_of_pools() -> Any:
    """A model of YOLOX's raw format, for any number of 64x96 pictures: boxes and scores from each cell's colours."""
    import onnx  # not everywhere where tests of a GPU run
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = {
        "kernel": rng.normal(0, 2e-3, (6, 3, 8, 8)).astype(np.float32),
        "flat": np.array([0, 6, -1], np.int64),
    }
    levels = ("eighth", "sixteenth", "half_sixteenth")
    nodes = [helper.make_node("Conv", ["images", "kernel"], ["eighth"], kernel_shape=[8, 8], strides=[8, 8])]
    nodes += [
        helper.make_node("AveragePool", [fine], [coarse], kernel_shape=[2, 2], strides=[2, 2])
        for fine, coarse in pairwise(levels)
    ]
    nodes += [helper.make_node("Reshape", [level, "flat"], [f"{level}_cells"]) for level in levels]
    nodes += [
        helper.make_node("Concat", [f"{level}_cells" for level in levels], ["all"], axis=2),
        helper.make_node("Sigmoid", ["all"], ["shares"]),
        helper.make_node("Transpose", ["shares"], ["output"], perm=[0, 2, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "yolox",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 64, 96])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 126, 6])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model
