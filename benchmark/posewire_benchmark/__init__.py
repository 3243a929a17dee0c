"""Benchmarks of posewire: `posewire bench`, or `python -m posewire_benchmark`.

service/    the overhead of the service over its networks
load/       many streams on a schedule: latency, drops, the largest load, hostile clients, overload
roofline/   the networks compared with the peak performance of the machine
gpu_check/  whether all GPU features work on this GPU, and how fast
"""
