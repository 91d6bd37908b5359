"""Locate the sample images of the package, for first tries and for host applications."""

from __future__ import annotations

from pathlib import Path

from swin2sr_ops.errors import FormatError

__all__ = ["SAMPLES", "sample_path"]

_FOLDER = Path(__file__).parents[1] / "data" / "samples"

#: Name -> file and content. ``data/LICENSES.md`` lists sources and licences.
SAMPLES = {
    "cells": ("cells.tif", "U2OS nuclei, Hoechst, fluorescence, 16 bits (BBBC039, CC0)"),
    "photo": ("photo.png", "a landscape photograph, RGB, 8 bits (CC0)"),
}


def sample_path(uri: str) -> Path:
    """Return the file of ``sample:NAME``."""
    name = uri.removeprefix("sample:")
    if name not in SAMPLES:
        known = ", ".join(f"sample:{n}" for n in SAMPLES)
        raise FormatError(f"There is no {uri!r}; the samples are {known}.")
    return _FOLDER / SAMPLES[name][0]
