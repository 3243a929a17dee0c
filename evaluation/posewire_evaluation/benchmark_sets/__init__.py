"""Drawn scenes of rising difficulty with faults of known size: what the tracker makes of them, and others next to it.

Detections and poses are the truth with faults, so that every figure says something about the tracker and nothing about
the networks that find people; only flow is also taken from a network, beside the true one and that of DIS. `posewire
ablate --synthetic` prints the tables of docs/results.md.
"""
