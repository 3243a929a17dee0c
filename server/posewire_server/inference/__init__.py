"""The networks, their batching, and the path of a frame through them."""
