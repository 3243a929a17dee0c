"""Benchmarks of posewire: `posewire bench`, or `python -m posewire_benchmark`.

service/    the overhead of the service over its networks
load/       many streams on a schedule: latency, drops, the largest load, hostile clients, overload
roofline/   the networks compared with the peak performance of the machine
gpu_check/  whether all GPU features work on this GPU, and how fast

Shared by these: `clips.py` makes the `footage.py` to send, `private_server.py` runs the server that is measured, with
its `credentials.py` and, if people are injected, as an `injected_server.py`; `access.py` says how it is reached.
`random_bundle.py` makes its networks without published weights, `machine.py` says where figures are from, and
`command_line.py` has what the commands share. `suite.py` runs everything that docs/benchmarks.md shows, and `tables.py`
makes its tables.
"""
