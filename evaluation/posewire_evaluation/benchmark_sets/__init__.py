"""Drawn scenes of rising difficulty with faults of known size: what the tracker makes of them, and others next to it.

No network runs here. Detections and poses are the truth with faults, so that every figure says something about the
tracker and nothing about networks; `posewire ablate --synthetic` prints the tables of docs/results.md.
"""
