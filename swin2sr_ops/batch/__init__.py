"""Restore many images in one request: collect sources, estimate the cost, run, report."""
