"""Define all errors: `Swin2SROpsError` is the base of every error that the project raises on purpose.

Every message is a sentence for the person who made the request: the given value, the expected value,
and what to do. No message shows a password, token or signature that an address contains. This module
imports nothing of this project.
"""

from __future__ import annotations

import re

__all__ = [
    "CheckpointError",
    "ClusterError",
    "DownloadError",
    "FormatError",
    "ModelError",
    "OutputError",
    "PlanError",
    "RequestError",
    "Stopped",
    "Swin2SROpsError",
    "TileError",
    "without_secrets",
]

#: A user and password, and the query, of an address such as ``https://user:pw@host/a.tif?sig=...``.
_USER = re.compile(r"([a-z][a-z0-9+.-]*://)[^/\s'\"@]*@", re.IGNORECASE)
_QUERY = re.compile(
    r"((?:https?|s3a?|gs|gcs|az|abfss?|adl|ftp|sftp|webdav|oss)://[^\s'\"?#]*)\?(?=[^\s'\"]*=)[^\s'\"]*", re.IGNORECASE
)
_ENCODED = re.compile(r"(/vsi\w+)\?[^\s'\"]*", re.IGNORECASE)
_NAMED = re.compile(
    r"\b((?:[a-z-]+_)*(?:password|passwd|pwd|token|signature|sig|secret|api_?key|access_?key|credential)s?)"
    r"(\s*=\s*)('[^']*'|\"[^\"]*\"|[^\s&'\",;)]+)",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """Remove users, passwords, tokens and queries of addresses from ``text``.

    Examples
    --------
    >>> without_secrets("https://host/scene.tif?se=2026&sig=abc")
    'https://host/scene.tif'
    >>> without_secrets("PG:dbname='maps' user='me' password='secret'")
    "PG:dbname='maps' user='me' password=..."
    """
    for pattern in (_QUERY, _ENCODED, _USER):
        text = pattern.sub(r"\1", text)
    return _NAMED.sub(r"\1\2...", text)


class Swin2SROpsError(Exception):
    """Base of all errors raised on purpose; its text is meant for the user, and shows no secret of an address."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(without_secrets(arg) if isinstance(arg, str) else arg for arg in args))


class RequestError(Swin2SROpsError, ValueError):
    """An argument or option is not valid: a 7-D array, an unknown dtype, a scale that the model does not offer."""


class ModelError(Swin2SROpsError):
    """A model cannot be found, does not fit the request, or cannot run without a missing part."""


class CheckpointError(ModelError):
    """A weight file is missing, truncated, of another kind, or does not describe itself well enough."""


class DownloadError(ModelError):
    """Weights could not be downloaded, or their digest is not the catalogue's."""


class FormatError(Swin2SROpsError):
    """An image cannot be opened: missing, truncated, or of a format that cannot be read."""


class OutputError(Swin2SROpsError):
    """The output cannot be written: it exists, lies inside the input, or the disk is full."""


class PlanError(Swin2SROpsError):
    """No tile plan fits: an impossible halo or tile size, or too little memory for any tile."""


class TileError(Swin2SROpsError):
    """A tile failed while it was computed; the message names the tile and the image."""


class Stopped(Exception):
    """The caller stopped a run. This is not a failure: finished tiles are kept, and the run can be resumed."""


class ClusterError(Swin2SROpsError):
    """Worker processes cannot be started, reached or used, or were lost; finished tiles are kept."""
