"""Streams recorded to disk, to be replayed and explained later, for example in a bug report."""
