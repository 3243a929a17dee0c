"""What the service costs, measured: `posewire bench`, or `python -m posewire_server.benchmark`."""
