"""Servers as processes of their own, which a test may kill."""
