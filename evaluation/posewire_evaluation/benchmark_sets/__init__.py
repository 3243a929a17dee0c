"""Compares the tracker and others on drawn scenes of increasing difficulty, with faults of known size.

Detections and poses are the ground truth with faults, so that scores depend on the tracker only and not on the networks
that find people. Flow is the true one, that of DIS, or that of a network. `posewire ablate --synthetic` prints the
tables of docs/results.md.
"""
