"""Whether all that is done for GPUs works on this one, and how fast: `python -m posewire_benchmark.gpu_check`."""
