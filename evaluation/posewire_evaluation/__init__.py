"""Evaluates tracks: the official metrics, the paper's ablation, and the search for the tracker's settings."""
