"""Compares the tracker and others on drawn scenes of increasing difficulty, with faults of known size.

Detections and poses are the ground truth with faults, so that scores depend on the tracker only and not on the networks
that find people. Flow is the true one, that of DIS, or that of a network. `posewire ablate --synthetic` prints the
tables of docs/results.md.

    scenes.py                    the scenes: their ground truth, and their flow
    faults.py, outputs.py        the faults; the ground truth with them, in place of the outputs of networks
    trackers.py, baselines.py    the trackers to compare: posewire's variants, and ByteTrack and Norfair
    matrix.py                    runs all of them on all sets
    page.py                      the tables
"""
