"""Integers only: which pixels a tile reads, computes and owns."""
