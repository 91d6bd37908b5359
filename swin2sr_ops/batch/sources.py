"""Find the sources that a request names: files, folders, globs, list files and URLs, in order."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import escape, glob
from pathlib import Path

from swin2sr_ops.calls import path_of
from swin2sr_ops.errors import FormatError, OutputError, RequestError
from swin2sr_ops.io.base import PICTURE_SUFFIXES, TIFF_SUFFIXES
from swin2sr_ops.io.geo.address import file_of, is_address
from swin2sr_ops.io.storage.file_systems import file_system
from swin2sr_ops.io.storage.paths import is_url, local_path, natural_key, user_path, without_separator
from swin2sr_ops.io.storage.remote import retrying
from swin2sr_ops.io.zarr.documents import DOCUMENTS

__all__ = ["ZARRS", "Found", "address_of", "find", "folder_of_address", "is_zarr", "kind_of"]

#: Suffixes of folders and zip files that are Zarr.
ZARRS = (".zarr", ".zarr.zip", ".ozx")
_UNFINISHED = (".partial", ".lock", ".replaced")
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Found:
    """A source, and the folder to which its output path is relative ("" if there is none)."""

    uri: str
    root: str
    searched: bool = False  # found in a folder or by a glob, not named itself


def kind_of(name: str) -> str:
    """Return ``zarr``, ``tiff`` or ``picture`` by the suffix of ``name``, or an empty string for other suffixes."""
    lower = without_separator(name).lower()
    suffix = os.path.splitext(lower)[1]
    if lower.endswith(ZARRS):
        return "zarr"
    return "tiff" if suffix in TIFF_SUFFIXES else "picture" if suffix in PICTURE_SUFFIXES else ""


def is_zarr(uri: str) -> bool:
    """Return True if ``uri`` has a Zarr suffix, or is a folder with Zarr metadata."""
    path = local_path(uri)
    if kind_of(uri) == "zarr":
        return True
    return path is None and ".zarr/" in uri if path is None else any(os.path.isfile(path / m) for m in DOCUMENTS)


def address_of(url: str) -> str:
    """Remove the query, such as a signature, from ``url``.

    Examples
    --------
    >>> address_of("https://host/a.tif?sig=b/c"), address_of("s3://bucket/a?.zarr")
    ('https://host/a.tif', 's3://bucket/a?.zarr')
    """
    start, mark, query = url.partition("?")
    return start if mark and "://" in start and "=" in query else url


def find(words: Sequence[str], lists: Sequence[str] = (), dst: str | None = None) -> list[Found]:
    """Find all sources that ``words`` and list files name, each once, in the given order.

    Parameters
    ----------
    words : sequence of str
        Files, folders (searched recursively), globs (``**`` for any number of folders), ``@LIST`` files,
        Zarr images or archives, URLs, ``sample:NAME``.
    lists : sequence of str
        List files: one source per line, relative to the list file; lines that start with ``#`` are ignored.
    dst : str, optional
        The output, which is not a source if it lies inside a searched folder.

    Raises
    ------
    RequestError
        If a list file, folder or glob gives no source.
    OutputError
        If the output folder is also searched for sources.
    """
    named = [path_of(word, "A source") for word in words] + [f"@{name}" for name in lists]
    found = [source for word in named for source in (_listed(word[1:], dst) if word[:1] == "@" else _word(word, dst))]
    unique: dict[str, Found] = {}
    for source in found:
        path = local_path(source.uri)
        unique.setdefault(source.uri if path is None else os.path.realpath(path), source)
    return list(unique.values())


def _listed(name: str, dst: str | None) -> Iterator[Found]:
    path = user_path(name)
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as exc:
        raise RequestError(
            f"The list file {name!r} cannot be read ({exc}): give a text file with one source per line."
        ) from exc
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise RequestError(f"The list file {name!r} names no source: write one per line.")
    for line in lines:
        if "\0" in line:
            raise RequestError(f"The list file {name!r} holds a NUL character: give a text file, one source per line.")
        if line.startswith("@"):
            raise RequestError(f"The list file {name!r} names another list, {line!r}: give that with --list as well.")
        yield from _word(_beside(path.parent, line), dst)


def _beside(folder: Path, line: str) -> str:
    """Return the source that a line of a list in ``folder`` names; a path is relative to that folder."""
    if is_url(line) or line.startswith("sample:") or is_address(line):
        return line
    here = folder / line
    return str(here if os.path.lexists(here) else folder / user_path(line))


def _word(word: str, dst: str | None) -> list[Found]:
    path = None if "\0" in word else local_path(word)
    if word.startswith("sample:"):
        return [Found(word, "")]
    if is_address(word):
        return [Found(word, folder_of_address(word))]
    if path is None:
        return _remote(word)
    if not os.path.exists(path) and _MAGIC.search(word):
        return _globbed(word, dst)
    if os.path.isdir(path) and not is_zarr(word):
        return _searched(path, dst)
    return [Found(word, _folder_of(path))]


def folder_of_address(word: str) -> str:
    """Return the folder of the file in a GDAL address."""
    path = file_of(word)
    if path is None or word.startswith("/vsi"):
        return address_of(word).rpartition("/")[0]
    return str(Path(os.path.abspath(path)).parent)


def _folder_of(path: Path) -> str:
    """Return the folder of the file, or of the outermost Zarr that ``path`` names or lies in."""
    path = Path(os.path.abspath(path))
    outermost = next((p for p in [*reversed(path.parents), path] if p.suffix == ".zarr"), path)
    return str(outermost.parent)


# --- folders and globs ----------------------------------------------------------------------------


def _check_not_all(folder: Path, word: str) -> None:
    """Refuse to search the whole file system, which a list with a line ``/`` asks for by mistake."""
    if os.path.realpath(folder) == os.sep:
        raise RequestError(f"{word!r} asks to search the whole file system: name a folder of images.")


def _searched(folder: Path, dst: str | None) -> list[Found]:
    _check_not_all(folder, str(folder))
    avoid = _output_inside(folder, dst)
    images = [name for name in _walk(folder, avoid) if kind_of(name) or is_zarr(name)]
    if not images:
        raise RequestError(
            f"The folder {str(folder)!r} is not a Zarr and contains no images: expected TIFF, Zarr, PNG or JPEG files."
        )
    return [Found(name, os.path.abspath(folder), True) for name in sorted(images, key=natural_key)]


def _globbed(pattern: str, dst: str | None) -> list[Found]:
    parts = user_path(pattern).parts
    magic = [i for i, part in enumerate(parts) if _MAGIC.search(part)]
    # A folder of that very name is meant literally, as an image is.
    fixed = next((i for i in magic if not os.path.exists(Path(*parts[: i + 1]))), magic[0])
    root = Path(*parts[:fixed]) if fixed else Path()
    avoid = _output_inside(root, dst)
    into_zarr = any(part.endswith(".zarr") for part in parts[:-1])
    if "**" in parts:
        _check_not_all(root, pattern)
    if "**" in parts and not into_zarr:  # `glob` would walk all chunks of every Zarr
        names: Iterable[str] = (
            name for name in _walk(root, avoid) if _matches(Path(name).relative_to(root).parts, parts[fixed:])
        )
    else:
        literally = [escape(part) for part in parts[:fixed]]
        names = (n for n in glob(str(Path(*literally, *parts[fixed:])), recursive=True) if not _inside(n, avoid))
    literal = Path(parts[-1]).suffix  # `*.dat` means all these files; `*` means all images
    asked = bool(literal) and not _MAGIC.search(literal)
    images = [n for n in names if not _unfinished(n) and (is_zarr(n) or (os.path.isfile(n) and (asked or kind_of(n))))]
    if not images:
        raise RequestError(
            f"No image matches {pattern!r}: check the pattern, and quote it so that the shell does not expand it."
        )
    top = _folder_of(root) if any(part.endswith(".zarr") for part in root.parts) else os.path.abspath(root)
    return [Found(name, top, True) for name in sorted(images, key=natural_key)]


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or (bool(parts) and _matches(parts[1:], pattern))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _walk(root: Path, avoid: str) -> Iterator[str]:
    """Walk the files and Zarr folders below ``root``; skip hidden and unfinished ones, and do not enter a Zarr."""
    for folder, folders, files in os.walk(root, onerror=_refuse_closed):
        if folder != str(root) and any(marker in files for marker in DOCUMENTS):
            folders.clear()
            yield folder
            continue
        zarrs = [name for name in folders if name.endswith(".zarr") and name[0] != "."]
        folders[:] = [
            name
            for name in folders
            if name not in zarrs and not _unfinished(name) and not _inside(os.path.join(folder, name), avoid)
        ]
        names = (os.path.join(folder, name) for name in [*zarrs, *files] if not _unfinished(name))
        yield from (name for name in names if not _inside(name, avoid))


def _refuse_closed(error: OSError) -> None:
    """Stop at a folder that cannot be listed: its images would be left out of an output that looks whole."""
    raise FormatError(
        f"The folder {str(error.filename)!r} cannot be searched for images ({error.strerror}): change its rights, or"
        " name the sources without it."
    ) from error


def _unfinished(name: str) -> bool:
    base = os.path.basename(name)
    return base.startswith(".") or base.endswith(_UNFINISHED)


def _inside(name: str, folder: str) -> bool:
    path = os.path.abspath(name)
    return bool(folder) and (path == folder or path.startswith(folder + os.sep))


def _output_inside(root: Path, dst: str | None) -> str:
    """Return the output if it lies inside the searched folder ``root``: it contains no sources."""
    path = None if dst is None else local_path(dst)
    if path is None:
        return ""
    here, there = os.path.abspath(root), os.path.abspath(path)
    if here == there:
        raise OutputError(
            f"The output folder {dst!r} is also searched for sources: the next run would restore its results again."
            f" Give another folder, such as {os.path.join(str(dst), 'restored')!r}."
        )
    return there if _inside(there, here) else ""


# --- remote sources ---------------------------------------------------------------------------------


def _remote(url: str) -> list[Found]:
    address = address_of(url)
    if not _MAGIC.search(address):
        return [Found(url.rstrip("/"), address.rstrip("/").rpartition("/")[0])]
    try:
        fs, pattern = file_system(url)
        if retrying(lambda: fs.exists(pattern)):  # an image of that very name, as on a disk
            return [Found(url.rstrip("/"), address.rstrip("/").rpartition("/")[0])]
        found = retrying(lambda: fs.glob(pattern))
        names = sorted((fs.unstrip_protocol(name) for name in found), key=natural_key)
    except (ImportError, OSError, ValueError) as exc:
        raise FormatError(f"{url!r} cannot be listed ({exc}): name each image instead.") from exc
    images = [name for name in names if kind_of(name)]
    if not images:
        raise RequestError(f"No image matches {url!r}: check the pattern.")
    parts = pattern.split("/")
    fixed = "/".join(parts[: next(i for i, part in enumerate(parts) if _MAGIC.search(part))])
    return [Found(name, fs.unstrip_protocol(fixed), True) for name in images]
