"""The networks behind their batchers, and a frame's way through them."""
