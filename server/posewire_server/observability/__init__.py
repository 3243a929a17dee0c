"""What others see of the server: logs, metrics, traces, health."""
