"""Errors in the words of the window: its boxes and buttons, one sentence, details apart. No Qt."""

from __future__ import annotations

import re
from dataclasses import dataclass

from swin2sr_ops.errors import Swin2SROpsError
from swin2sr_ops.hosting import is_disk_full

__all__ = ["Message", "in_words", "sentence"]

#: What the core says to the command line and to Python, and what the window calls it.
_WORDS = (
    (
        r"choose another name, or allow to overwrite it( \(--overwrite\))?",
        "choose another name, or tick 'Replace what is there'",
    ),
    (r"[Ss]tart anew with restart( \(--restart\))?", "choose another name in the box 'Folder'"),
    (r"Give the same command as then to resume it", "Choose the same as then to resume it"),
    (r"the same command resumes the run", "Restore resumes it"),
    (
        r"are not in the cache; run `[^`]*`( \([^)]*\))? or pass download=True",
        r"are not on this computer yet: press 'Download the model'\1",
    ),
    (
        r"device='([^']*)' cannot be used here.*",
        r"The device '\1' cannot be used here: choose 'auto' in the box 'Device'.",
    ),
    (r"engine='([^']*)'", r"The engine '\1'"),
    (
        r"give device='([^']*)', or another engine",
        r"choose '\1' in the box 'Device', or another line in the box 'Engine'",
    ),
    (
        r"axes='([^']*)' does not fit an array of shape (\([^)]*\)).*",
        r"The axes '\1' do not fit an image of \2 pixels: write one letter per dimension, with Y and X among them, in"
        " the box 'Axes'.",
    ),
    (r"halo=(\S+)", r"The overlap \1"),
    (
        r"give along='([ZT])'( \(--along [ZT]\))? to take those along [ZT]",
        r"choose \1 in the box 'Neighbours along' under Advanced",
    ),
    (
        r"give along='Z' or along='T'( \(--along Z\))? to choose one",
        r"choose Z or T in the box 'Neighbours along' under Advanced",
    ),
    (r", or along='([ZT])'\.", r", or \1 in the box 'Neighbours along' under Advanced."),
    (r"model=('[^']*')", r"The model \1"),
    (r"ensemble=(\S+)", r"The average of \1 views"),
    (r" \(image 'napari-layer:[^']*'\)", ""),
    (r"'napari-layer:([^']*)'", r"'\1'"),
    (r" ?\(--[a-z-]+( [^)]*)?\)", ""),
    (r"`([^`]*)`", r"'\1'"),
)
#: Errors whose first line stands for all of it: what the network said is behind "More ...".
_HEADS = (
    (
        r"The weights of (\S+) could not be fetched from https?://([^/\s]+)\S*: .*",
        r"\1 could not be downloaded from \2: check that this computer reaches the internet, then press 'Download the"
        r" model' again.",
    ),
)
_LONG = 220  # characters that a line in the window has at most


@dataclass(frozen=True)
class Message:
    """A message for the user: a line, and the full text if it is longer."""

    line: str
    more: str = ""


def sentence(error: BaseException) -> Message | None:
    """Put ``error`` into the window's words; None where it is a fault of the program."""
    if isinstance(error, Swin2SROpsError):
        return _short(str(error))
    if isinstance(error, MemoryError):
        return Message(
            "There is not enough memory for this: choose 'OME-Zarr on disk' in the box 'Result' under Advanced."
        )
    if is_disk_full(error):
        return Message(
            "The disk is full: free some space and press Restore, which resumes the run; or choose another folder."
        )
    if isinstance(error, OSError):
        return _short(f"A file cannot be read or written: {error}.")
    if isinstance(error, ImportError):
        return _short(f"Something is not installed: {error}.")
    return None


def in_words(text: str) -> str:
    """Put a text of the core into the window's words."""
    for pattern, words in _WORDS:
        text = re.sub(pattern, words, text, flags=re.DOTALL)
    return text


def _short(text: str) -> Message:
    text_in_words = in_words(text)
    for pattern, head in _HEADS:
        if found := re.fullmatch(pattern, text_in_words, flags=re.DOTALL):
            return Message(found.expand(head), text_in_words)
    line = text_in_words
    if len(line) > _LONG:
        parts = re.split(r"(?<=[.:;]) ", text_in_words)
        line = parts[0]
        for part in parts[1:]:
            if len(line) + len(part) >= _LONG:
                break
            line += " " + part
        line = line[:_LONG].rstrip(" :;,") + ("" if line.endswith(".") else " ...")
    return Message(line, text if line != text else "")
