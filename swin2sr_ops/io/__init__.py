"""Pixels in and out: sources and sinks of the built-in formats."""
