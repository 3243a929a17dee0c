"""Checks that all GPU features work on this GPU, and how fast: `python -m posewire_benchmark.gpu_check`.

`sections.py` lists the checks in their order, and runs them. `agreement.py` compares results with those of the CPU;
`jpeg_speed.py`, `stream_speed.py` and `network_speed.py` measure.
"""
