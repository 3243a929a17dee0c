"""The networks compared with the machine's measured peaks: multiply-adds, bytes, time.

    measure.py     the share of the peak that each network reaches; `peaks.py` measures the peaks
    runtimes.py    the same networks in each runtime of a CPU (--runtimes)
    networks.py    the networks of a bundle
    timing.py      how long a call takes on a device

`command.py` is `posewire bench roofline`.
"""
