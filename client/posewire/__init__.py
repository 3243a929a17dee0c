"""posewire: real-time, multi-person pose tracking over gRPC."""
