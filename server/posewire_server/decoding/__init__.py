"""Decoding encoded bytes to frames, on the CPU or a GPU. Headers are checked before pixels are decoded."""
