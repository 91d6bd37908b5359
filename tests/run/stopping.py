"""End runs in the middle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import swin2sr_ops
from swin2sr_ops.events import Event


class Stop(Exception):
    """Ends a run in the middle."""


def stopped(source: Path, out: Path | str, kind: str = "tile", count: int = 5, **options: Any) -> None:
    """Begin a run, and end it at the event ``count`` of a kind."""

    def progress(event: Event) -> None:
        if event.kind == kind and event.done == count:
            raise Stop

    with pytest.raises(Stop):
        swin2sr_ops.restore_image(source, out, progress=progress, **options)
