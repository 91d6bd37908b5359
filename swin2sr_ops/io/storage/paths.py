"""Paths as people write them: with ``~``, a drive, a trailing separator, or as a ``file:`` URL."""

from __future__ import annotations

import errno
import os
import re
import stat
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
    "unreadable",
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
    """Return `local_path`, and check that something is there which can be read in parts.

    Raises
    ------
    FormatError
        If there is no such file or folder, it is a pipe, or this user may not read it.
    """
    path = local_path(uri)
    if path is not None and (reason := unreadable(path, uri)):
        raise FormatError(reason)
    return path


def unreadable(path: Path, name: str) -> str:
    """Say why the file or folder at ``path``, which a user calls ``name``, cannot be read; empty if it can."""
    try:
        mode = os.stat(path).st_mode
    except OSError as exc:
        if isinstance(exc, FileNotFoundError | NotADirectoryError):
            target = f": it is a link to {os.readlink(path)!r}, which is missing" if os.path.islink(path) else ""
            return f"There is no file or folder at {name!r}{target}."
        if exc.errno == errno.ELOOP:
            return f"There is no file or folder at {name!r}: its links form a loop."
        return f"{name!r} cannot be reached ({exc.strerror}): check its name, and the rights of its folder."
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        return f"{name!r} is a pipe, and images are read in parts, several times: save it as a file first."
    if not os.access(path, os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)):
        return f"{name!r} cannot be read: this user has no right to. Change its rights, or copy it as a user who has."
    return ""


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
