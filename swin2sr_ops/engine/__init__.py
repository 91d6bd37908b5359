"""Run a model on a device: restore tiles from blocks with a halo."""
