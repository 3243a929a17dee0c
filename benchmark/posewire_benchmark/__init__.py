"""posewire measured: `posewire bench`, or `python -m posewire_benchmark`.

service/    what the service adds to its networks
load/       many streams on a schedule: latency, drops, the largest load, hostile clients, overload
roofline/   the networks against what the machine can do
gpu_check/  whether everything that is done for GPUs works on this one, and how fast
"""
