"""How good tracks are: the official metrics, the paper's ablation and the search of the tracker's settings."""
