"""Networks, estimators, bundles and training of posewire; torch, no gRPC.

Callers begin with `bundle.load_bundle`, which returns the three stages, ready to run. Its parts:

    stages.py, frames.py       the interface of the stages: what goes in and comes out
    detectors                  the stages: detectors,
    pose_estimator.py          pose estimators
    flow_estimators.py         and flow estimators
    crops.py, letterbox.py     from frames to a network's input; `resizing.py` is what they share
    heatmaps.py                from a pose network's output to joints
    architectures.py           lists the networks, which have a file each: `pose_resnet.py`, `flownet_s.py` ...
    trunks.py, deconv_head.py  parts of networks
    inference.py               devices, precisions and runtimes (`cuda_runtime.py`, `openvino_runtime.py`)
    device_transfer.py         frames to a GPU, and results back
    specs.py, choice.py        how users name networks, and which of them run
    manifest.py                what a bundle says of itself
    weights.py, published      files of weights: our own, and those published by others
    bundle_export.py           export to ONNX
    training                   training, and evaluation of the result
"""

import os

# ONNX Runtime reports its use to its makers, and keeps an identifier of the machine in the user's cache, unless this is
# set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
