"""The overhead of the service over its networks: `posewire bench`.

`report.py` runs all `measurements.py` and shows their results; `streams.py` sends the frames, to a server or to a
pipeline in this process. `command.py` and `options.py` say what is measured.
"""
