"""Tests that try to break the service; `make fuzz`, `make chaos` and `make soak` run their long forms."""
