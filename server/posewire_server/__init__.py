"""The posewire pose-tracking service."""
