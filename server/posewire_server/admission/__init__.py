"""Tokens and TLS, limits and rates, scheduling between streams."""
