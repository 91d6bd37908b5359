"""List the packages that read microscopes' formats for bioio."""

from __future__ import annotations

from pathlib import Path

__all__ = ["READERS", "suggested"]

#: Microscopes' formats, and the package that reads each.
READERS = {
    ".czi": "bioio-czi", ".lif": "bioio-lif", ".nd2": "bioio-nd2", ".dv": "bioio-dv", ".sldy": "bioio-sldy",
    ".vsi": "bioio-bioformats", ".oif": "bioio-bioformats", ".oib": "bioio-bioformats", ".ims": "bioio-bioformats",
    ".lof": "bioio-lif", ".xlif": "bioio-lif", ".r3d": "bioio-dv", ".zvi": "bioio-bioformats",
}  # fmt: skip


def suggested(path: Path) -> str:
    """Return words that name a reader for a file; empty if none is known."""
    name = READERS.get(path.suffix.lower())
    return f", such as {name} (mind its licence)" if name else ""
