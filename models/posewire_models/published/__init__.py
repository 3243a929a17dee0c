"""Weights that others publish: what they are, fetching, reading without trust, converting, keeping.

`catalogue` and `store` say what exists and what is here, `pulling` fetches and converts, `resolution` gives bundles
their weights. What moves files about needs no torch; what looks into them does.
"""
