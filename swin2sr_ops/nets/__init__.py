"""Define the networks as torch modules, for training and for the tile engine."""
