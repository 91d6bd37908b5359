"""A model on a device: restored tiles from haloed blocks."""
