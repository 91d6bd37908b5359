"""Report a run to a calling program: ``--progress json``. docs/batch.md describes the fields."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from swin2sr_ops.events import Event, ImageEnd, ImageStart, PartEnd, PartStart, PyramidProgress, RunStart, TileDone
from swin2sr_ops.io.base import json_ready

__all__ = ["JsonLines", "json_line"]


class JsonLines:
    """Write events as lines of JSON on standard error, with few fields, which do not change between versions.

    Parameters
    ----------
    image : str
        Image or archive, if there is only one.
    pixels : int
        Output values of all images, if there are several.
    """

    def __init__(self, image: str = "", pixels: int = 0) -> None:
        self.image, self.part = image, ""
        self.pixels = pixels
        self.there = self.restored = self.counted = 0  # before this run, by this run, and of the current image
        self.began: float | None = None

    def __call__(self, event: Event) -> None:
        """Write ``event``; ignore unknown kinds."""
        fill = getattr(self, f"_{event.kind.replace(' ', '_')}", None)
        if fill is not None:
            fields: dict[str, Any] = fill(event)
            image = f"{self.image.rstrip('/')}/{self.part}" if self.part else self.image
            sys.stderr.write(json_line(event.kind, image=image or None, **fields))
            sys.stderr.flush()
            if event.kind == "part end":
                self.part = ""

    def close(self) -> None:
        """Do nothing; there is nothing to close."""

    # --- fields, by kind --------------------------------------------------------------------------

    def _estimate(self, event: Event) -> dict[str, Any]:
        return _counts(event)

    _range = _end = _estimate

    def _start(self, event: RunStart) -> dict[str, Any]:
        self.began = time.monotonic() if self.began is None else self.began
        self.pixels = self.pixels or event.pixels
        self._skip(event.pixels * event.done // event.total if event.total else 0)
        return _counts(event)

    def _tile(self, event: TileDone) -> dict[str, Any]:
        self.restored += event.pixels
        self.counted += event.pixels
        spent = 0.0 if self.began is None else time.monotonic() - self.began
        left = max(self.pixels - self.there - self.restored, 0) / self.restored * spent
        return _counts(event) | {"seconds_left": round(left, 1)}

    def _pyramid(self, event: PyramidProgress) -> dict[str, Any]:
        return _counts(event) | {"level": event.level}

    def _image(self, event: ImageStart) -> dict[str, Any]:
        self.image, self.counted = event.source, 0
        return _counts(event)

    def _image_end(self, event: ImageEnd) -> dict[str, Any]:
        self._skip(max(event.pixels - self.counted, 0))  # finished by an earlier run
        return _counts(event) | _outcome(event)

    def _part(self, event: PartStart) -> dict[str, Any]:
        self.part = event.source
        return _counts(event)

    def _part_end(self, event: PartEnd) -> dict[str, Any]:
        return _counts(event) | _outcome(event)

    def _skip(self, pixels: int) -> None:
        """Count pixels of an earlier run, without counting them as speed."""
        self.there += pixels
        self.counted += pixels


def json_line(kind: str, **fields: Any) -> str:
    """Format an event as one line; leave out fields that are None."""
    given = {name: value for name, value in fields.items() if value is not None}
    return json.dumps(json_ready({"kind": kind, **given})) + "\n"


def _counts(event: Event) -> dict[str, Any]:
    return {"done": event.done, "total": event.total}


def _outcome(event: ImageEnd) -> dict[str, Any]:
    reason = " ".join(event.reason.split())
    return {"text": f"{event.state}: {reason}" if reason else event.state}
