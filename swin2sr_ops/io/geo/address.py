"""Parse addresses that only GDAL understands: ``NETCDF:"sea.nc":sst``, ``/vsizip/a.zip/b.tif``.

Most of them contain a file's path; this module finds it, and with it name, folder and identity of the file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from swin2sr_ops.io.storage.paths import absolute_uri

__all__ = ["absolute_address", "file_of", "is_address", "name_of", "subdataset"]

#: A driver's prefix has at least two letters: one letter is a Windows drive.
_PREFIX = re.compile(r"([A-Za-z][A-Za-z0-9_]+):(?!//)")
_OWN = {"sample", "memory", "file"}
#: ``/vsizip/``, ``/vsitar/`` and similar ones: a path follows, or ``{path}``.
_ARCHIVE = re.compile(
    r"(/vsi(?:zip|tar|gzip|7z|rar|subfile/[^,]*,|cached\?file=)/?)(\{?)(?!/vsi)([^}]*)(\}?)(.*)", re.DOTALL
)
_WEB = re.compile(r"(?:/vsi[a-z0-9_]+/)?(?:[a-z0-9+]+://)")


def is_address(uri: str) -> bool:
    """Return True if only GDAL understands ``uri``: a ``/vsi`` path, or a driver's prefix if there is no such file."""
    if uri.startswith("/vsi"):
        return True
    found = _PREFIX.match(uri)
    return bool(found) and found[1].lower() not in _OWN and not os.path.exists(uri)  # type: ignore[index]


def file_of(uri: str) -> Path | None:
    """Return the local file in an address; None if there is none."""
    span = _file_span(uri)
    return None if span is None else Path(uri[slice(*span)])


def absolute_address(uri: str) -> str:
    """Make ``uri`` independent of the working folder."""
    if not is_address(uri):
        return absolute_uri(uri)
    span = _file_span(uri)
    if span is None or uri[span[0] : span[0] + 1] == "/":
        return uri
    start, stop = span
    path = Path(uri[start:stop]).absolute()
    return f"{uri[:start]}{path}{uri[stop:]}"


def name_of(uri: str) -> str:
    """Return a name for the image at ``uri``, without folder, suffix, query or quotes: ``sea_sst``.

    Examples
    --------
    >>> name_of("https://host/tiles/scene.tif?sig=abc"), name_of("scenes/a.b.tif")
    ('scene', 'a.b')
    """
    if _WEB.match(uri):
        address = uri[uri.index("://") + 3 :]
        return _stem(urlsplit(f"//{address}").path)
    span = None if uri.startswith("/vsi") or not is_address(uri) else _file_span(uri)
    if span is None:
        return _stem(uri.replace("\\", "/"))
    start, stop = span
    inside = re.sub(r"\W+", "_", uri[stop:]).strip("_")
    return _stem(uri[start:stop]) + (f"_{inside}" if inside else "")


def subdataset(address: str, path: str) -> str:
    """Quote ``address``, a subdataset of the file at ``path``, as GDAL requires.

    rasterio omits the quotes, without which a path with a colon is ambiguous.
    """
    quoted = f'"{path}"'
    if ":" in path and quoted not in address:
        return address.replace(f":{path}:", f":{quoted}:", 1)
    return address


def _stem(path: str) -> str:
    name = PurePosixPath(path).name
    return name.rsplit(".", 1)[0] or name


def _file_span(uri: str) -> tuple[int, int] | None:
    """Find the first and the last (exclusive) character of the local file in ``uri``."""
    if uri.startswith("/vsi"):
        return _archive_span(uri)
    if os.path.exists(uri):
        return 0, len(uri)
    found = _PREFIX.match(uri)
    if found is None:
        return None
    rest = found.end()
    if uri[rest : rest + 1] == '"':
        end = uri.find('"', rest + 1)
        return None if end < 0 else (rest + 1, end)
    # Take the longest part between colons that is a file: paths may contain colons.
    starts = [rest, *(m.end() for m in re.finditer(":", uri) if m.start() >= rest)]
    stops = [*(m.start() for m in re.finditer(":", uri) if m.start() >= rest), len(uri)]
    spans = [(a, b) for a in starts for b in stops if b > a and os.path.exists(uri[a:b])]
    return max(spans, key=lambda span: span[1] - span[0], default=None)


def _archive_span(uri: str) -> tuple[int, int] | None:
    found = _ARCHIVE.match(uri)
    if found is None:
        return None
    start, text = found.start(3), found[3]
    if found[2]:
        return start, found.end(3)
    stop = len(text)
    while stop > 0:
        if os.path.isfile(text[:stop]):
            return start, start + stop
        stop = text.rfind("/", 0, stop)
    return None
