"""Checks that all GPU features work on this GPU, and how fast: `python -m posewire_benchmark.gpu_check`."""
