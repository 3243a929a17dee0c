"""The overhead of the service over its networks: `posewire bench`."""
