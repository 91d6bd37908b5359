"""Distinguish the caller's errors from an image's: an error that `progress` raises ends the whole run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Relay", "unforeseen"]


@dataclass
class Relay:
    """The caller's ``progress``; it stores the error that it raised.

    A host cancels a run by raising from ``progress``. Such an error is not the failure of the current image.
    """

    progress: Callable[[Any], None]
    raised: Exception | None = None

    @classmethod
    def of(cls, progress: Callable[[Any], None] | None) -> Relay:
        """Wrap ``progress`` once, even if several layers pass it on."""
        if isinstance(progress, Relay):
            return progress
        return cls(progress or (lambda event: None))

    def __call__(self, event: Any) -> None:
        try:
            self.progress(event)
        except Exception as exc:
            self.raised = exc
            raise


def unforeseen(error: Exception) -> str:
    """Put an unforeseen error into a sentence."""
    return (
        f"An unexpected {type(error).__name__} ended this image ({error}). This is a bug in swin2sr-ops: please"
        " report it, with the image's metadata."
    )
