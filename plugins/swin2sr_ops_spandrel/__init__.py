"""Checkpoints that spandrel reads, as models of swin2sr_ops: ``--model photo.pth``, ``--model spandrel:photo.pth``."""
