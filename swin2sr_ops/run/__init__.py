"""Restore an image from a source to a sink, tile by tile."""
