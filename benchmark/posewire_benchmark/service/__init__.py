"""What the service costs beside its networks: `posewire bench`."""
