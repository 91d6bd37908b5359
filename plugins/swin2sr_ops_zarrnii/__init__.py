"""Use swin2sr_ops in ZarrNii: models that keep the image's size, as a plugin for its scaled processing."""
