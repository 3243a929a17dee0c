"""posewire measured: `posewire bench`, or `python -m posewire_server.benchmark`.

service/   what the service adds to its networks
load/      many streams on a schedule: latency, drops, the largest load, hostile clients, overload
roofline/  the networks against what the machine can do
"""
