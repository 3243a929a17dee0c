"""Whether everything that is done for GPUs works on this one, and how fast: `python -m posewire_server.gpu_check`."""
