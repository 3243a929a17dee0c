"""One Track stream: its requests, its state, its responses, its end, and how it goes on elsewhere."""
