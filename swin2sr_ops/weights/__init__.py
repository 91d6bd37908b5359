"""Weights: reading every kind of checkpoint, saying what network it is, fetching it, saving our own."""
