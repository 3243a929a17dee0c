"""Print the requirements that a variant of the server's image installs with pip, from pyproject.toml.

    python requirements.py cuda|cpu pyproject.toml

The dependencies have their own layer in the image, which stays cached while only the code changes.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["VARIANTS", "requirements"]

# From variant to its extras.
VARIANTS = {"cuda": ("server", "otel"), "cpu": ("server", "openvino", "otel")}


def requirements(project: Mapping[str, Any], variant: str) -> list[str]:
    """Requirements of the variant, as lines of a requirements file.

    Args:
        project: the table `[project]` of pyproject.toml.
        variant: cuda or cpu. The latter uses ONNX Runtime without CUDA, which is 300 MB smaller.
    """
    lines = list(project["dependencies"])
    for extra in VARIANTS[variant]:
        lines += project["optional-dependencies"][extra]
    if variant == "cuda":
        return lines
    # Only one of the two may be installed: they contain the same files.
    plain = [line.partition(";")[0].strip() for line in lines if line.startswith("onnxruntime>")]
    return [line for line in lines if not line.startswith("onnxruntime")] + plain


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="Print what a variant of the image installs.")
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("pyproject", type=Path)
    arguments = parser.parse_args()
    project = tomllib.loads(arguments.pyproject.read_text(encoding="utf-8"))["project"]
    print("\n".join(requirements(project, arguments.variant)))


if __name__ == "__main__":
    main()
