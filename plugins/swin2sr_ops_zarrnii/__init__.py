"""swin2sr_ops in ZarrNii: models that keep the image's size, as a plugin of its scaled processing."""
