"""One error tree: catch `Swin2SROpsError` to catch everything the project raises on purpose.

Every message is a sentence for the person who made the request: what was given, what was expected,
what to do. Nothing here imports anything.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ClusterError",
    "DownloadError",
    "FormatError",
    "ModelError",
    "OutputError",
    "PlanError",
    "RequestError",
    "Swin2SROpsError",
    "TileError",
]


class Swin2SROpsError(Exception):
    """Base of all errors raised on purpose; its text is meant for the user."""


class RequestError(Swin2SROpsError, ValueError):
    """An argument or option does not fit: a 7-D array, an unknown dtype, a scale the model has not."""


class ModelError(Swin2SROpsError):
    """A model cannot be found, does not fit the request, or lacks what is needed to run it."""


class CheckpointError(ModelError):
    """A weight file is missing, truncated, of another kind, or does not say enough about itself."""


class DownloadError(ModelError):
    """Weights could not be fetched, or what came is not what the catalogue promises."""


class FormatError(Swin2SROpsError):
    """An image cannot be opened: missing, truncated, or of a format nobody here reads."""


class OutputError(Swin2SROpsError):
    """The output cannot be written: it exists, lies inside the input, or the disk is full."""


class PlanError(Swin2SROpsError):
    """No tile plan fits: an impossible halo or tile size, or too little memory for any tile."""


class TileError(Swin2SROpsError):
    """One tile failed while it was computed; the message says which, of which image."""


class ClusterError(Swin2SROpsError):
    """The processes that share the work cannot be started, reached or used, or were lost; finished tiles are kept."""
