"""Paths as people write them: with ``~``, a drive, a trailing separator, or as a ``file:`` URL."""

from __future__ import annotations

import os
import re
import sys
from os import PathLike, fspath
from pathlib import Path
from urllib.parse import unquote, urlsplit

from swin2sr_ops.errors import FormatError

__all__ = [
    "absolute_uri",
    "existing_path",
    "is_url",
    "local_path",
    "natural_key",
    "path_of_url",
    "user_path",
    "without_separator",
]

WINDOWS = sys.platform == "win32"


def user_path(text: str | PathLike[str]) -> Path:
    """Expand ``~`` and ``~name`` at the beginning, unless a file of that very name exists.

    A name that no user has stays as it is, so that ``~draft.zarr`` can be written, too.
    """
    text = fspath(text)
    return Path(text) if os.path.lexists(text) else Path(os.path.expanduser(text))


def is_url(text: str) -> bool:
    """Tell whether ``text`` begins with a scheme; a single letter is a drive, as in ``C://images``."""
    scheme, mark, _ = text.partition("://")
    return bool(mark) and len(scheme) != 1


def path_of_url(url: str, *, windows: bool | None = None) -> str:
    r"""Return the path that a ``file:`` URL names; ``windows``: by the rules of that system (default: of this one).

    Examples
    --------
    >>> path_of_url("file:///data/a%20b.tif", windows=False)
    '/data/a b.tif'
    >>> path_of_url("file:///C:/data/a.tif", windows=True), path_of_url("file://server/share/a.tif", windows=True)
    ('C:/data/a.tif', '//server/share/a.tif')
    """
    parts = urlsplit(url)
    host, path = unquote(parts.netloc), unquote(parts.path)
    host = "" if host.lower() == "localhost" else host
    if not (WINDOWS if windows is None else windows):
        return path
    if re.fullmatch(r"[A-Za-z][:|]", host):  # file://C:/data, with a slash too few
        return f"{host[0]}:{path}"
    if host:
        return f"//{host}{path}"
    return re.sub(r"^/([A-Za-z])[:|]", r"\1:", path)


def without_separator(text: str, *, windows: bool | None = None) -> str:
    r"""Remove trailing separators: ``/``, and on Windows, where ``text`` is no URL, also the backslash."""
    both = (WINDOWS if windows is None else windows) and not is_url(text)
    return text.rstrip("/\\" if both else "/")


def local_path(uri: str) -> Path | None:
    """Return the path that ``uri`` (a path or a ``file:`` URL) names; None if it lies elsewhere."""
    if not is_url(uri):
        return user_path(uri)
    return Path(path_of_url(uri)) if uri.lower().startswith("file:") else None


def absolute_uri(uri: str) -> str:
    """Return ``uri`` as every working folder understands it: workers may run in another."""
    path = local_path(uri)
    return uri if path is None else str(path.absolute())


def existing_path(uri: str) -> Path | None:
    """Return `local_path`, and check that something is there.

    Raises
    ------
    FormatError
        If there is no such file or folder.
    """
    path = local_path(uri)
    if path is not None and not os.path.exists(path):  # unlike Path's, false for link loops and closed folders
        raise FormatError(f"There is no file or folder at {uri!r}.")
    return path


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts "2" before "10", and "B/3" before "B/12"."""
    digits, parts = "", []
    for character in text + "\0":
        if character.isdecimal() and character.isascii():
            digits += character
            continue
        if digits:
            parts.append((0, int(digits), digits))
            digits = ""
        parts.append((1, 0, character))
    return tuple(parts)
