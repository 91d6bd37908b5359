"""Use checkpoints that spandrel reads as models: ``--model photo.pth``, ``--model spandrel:photo.pth``."""
