"""Weights published by others: a catalogue, downloading, safe reading, conversion, and a store.

`catalogue` and `store` know what exists and what is stored, `pulling` fetches and converts, `resolution` finds the
weights that bundles name. Only modules that read the content of files need torch.
"""
