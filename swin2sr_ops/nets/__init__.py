"""The networks in torch: the modules (training, parity) and the tile engine (inference)."""
