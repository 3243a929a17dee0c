"""Streams on disk: recorded by the server, run again and explained later; what belongs to a report of a fault."""
