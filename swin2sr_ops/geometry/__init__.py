"""Tile plans in integers: the pixels that each tile reads, computes and owns."""
