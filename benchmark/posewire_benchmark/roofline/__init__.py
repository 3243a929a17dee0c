"""The networks against what the machine can do: multiply-adds and bytes, measured time, measured peaks."""
