"""A source for files that an installed bioio reader opens and this package does not.

Readers are packages of their own, some under the GPL: none is a dependency, bioio finds those that are installed. The
plugin imports nothing heavy before it is asked for such a file.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from swin2sr_ops import FormatError, hookimpl
from swin2sr_ops_bioio.readers import READERS, suggested

if TYPE_CHECKING:
    from swin2sr_ops_bioio.source import BioioSource

PREFIX = "bioio:"
#: Suffixes besides the core's tables of files that are Zarr, or no images.
_ZARR = {".zarr", ".zip", ".ozx", ".npy"}


@hookimpl
def swin2sr_ops_open_source(uri: str, options: dict[str, Any]) -> BioioSource | None:
    """Open a file with bioio; return None if this package reads it itself, or bioio knows no such file."""
    from swin2sr_ops.hosting import PICTURE_SUFFIXES, RASTER_SUFFIXES, TIFF_SUFFIXES, local_path

    asked = uri.startswith(PREFIX)
    path = local_path(uri.removeprefix(PREFIX))
    if path is None:
        return None
    if not asked:
        # The core keeps more of the metadata of the files that it reads itself.
        if path.suffix.lower() in TIFF_SUFFIXES | PICTURE_SUFFIXES | RASTER_SUFFIXES | _ZARR:
            return None
        if not path.is_file() or path.suffix.lower() not in {*READERS, *_installed()}:
            return None
    if not path.exists():
        raise FormatError(f"There is no {str(path)!r}: `bioio:` is followed by a file.")
    if find_spec("bioio") is None:
        raise FormatError(
            f"{path.name!r} is read by bioio, which is not installed: pip install 'swin2sr-ops[bioio]' and a reader"
            f"{suggested(path)}."
        )
    from swin2sr_ops_bioio.source import open_bioio

    return open_bioio(uri, path, options)


def _installed() -> set[str]:
    """Return the suffixes that installed readers name."""
    if find_spec("bioio") is None:
        return set()
    from bioio.plugins import get_plugins

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # readers' own, about other readers
        return {suffix.lower() for suffix in get_plugins(use_cache=True)}
