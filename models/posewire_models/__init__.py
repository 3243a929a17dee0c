"""Networks, estimators, bundles and training of posewire; torch, no gRPC."""

import os

# ONNX Runtime reports its use to its makers, and keeps an identifier of the machine in the user's cache, unless this is
# set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
