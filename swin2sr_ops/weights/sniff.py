"""Identify a file that is not a checkpoint by its first bytes, for the error message."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

from swin2sr_ops.errors import CheckpointError

__all__ = ["DAMAGE", "EXPECTED", "check_torch_file"]

EXPECTED = "expected the weights of a Swin2SR or SwinIR network: .pth, .safetensors, or a Hugging Face folder"

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself: run `git lfs pull`, or download it directly"),
    (b"<!doctype html", "an HTML page, probably the answer of a download link"),
    (b"<html", "an HTML page, probably the answer of a download link"),
    (b"\x89png", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"ii*\0", "a TIFF image"),
    (b"mm\0*", "a TIFF image"),
    (b"ii+\0", "a BigTIFF image"),
    (b"gif8", "a GIF image"),
    (b"\x89hdf", "an HDF5 file"),
    (b"%pdf", "a PDF document"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"gguf", "a GGUF file"),
    (b"{", "a JSON text"),
)

#: Errors that readers of archives and pickles raise; each was seen, depending on where the file is damaged.
DAMAGE: tuple[type[Exception], ...] = (
    *(RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError, AssertionError),
    *(struct.error, zipfile.BadZipFile),
)

#: First bytes that torch.save writes: a zip archive, or (before torch 1.6) consecutive pickles.
_ZIP = b"PK"
_PICKLE = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))


def check_torch_file(path: Path) -> None:
    """Reject a file that ``torch.save`` did not write; the message says what the file is.

    Raises
    ------
    CheckpointError
        If the file is missing, empty, truncated, a program instead of weights, or something else.
    """
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise CheckpointError(f"{path} is empty; {EXPECTED}.")
    if head.startswith(_ZIP):
        _check_archive(path)
    elif not head.startswith(_PICKLE):
        raise CheckpointError(f"{path} is {_kind(head)}; {EXPECTED}.")


def _kind(head: bytes) -> str:
    start = head.lstrip().lower()
    for magic, words in _MAGIC:
        if start.startswith(magic) or head.lower().startswith(magic):
            return words
    return f"a file of unknown kind (it begins with {head[:8]!r})"


def _check_archive(path: Path) -> None:
    try:
        names = _members(path)
    except DAMAGE as exc:
        raise CheckpointError(f"{path} is damaged ({type(exc).__name__}): fetch it again.") from exc
    if names is None:
        size = path.stat().st_size
        raise CheckpointError(f"{path} is truncated ({size} bytes, its end is missing): fetch it again.")
    if any("/code/" in name for name in names):
        raise CheckpointError(f"{path} is a TorchScript program, which is not run here; {EXPECTED}.")
    if not any(name.endswith("data.pkl") for name in names):
        some = ", ".join(names[:3])
        raise CheckpointError(f"{path} is a zip archive of {some or 'nothing'}; {EXPECTED}.")


def _members(path: Path) -> list[str] | None:
    """Return the names in a zip archive; None if its directory, which is at the end, is missing."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()
