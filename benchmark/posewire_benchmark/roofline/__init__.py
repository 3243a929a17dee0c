"""The networks compared with the machine's measured peaks: multiply-adds, bytes, time."""
