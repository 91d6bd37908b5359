"""Turn the sources that a user names into one entry per output."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import Any

from swin2sr_ops.batch.sources import ZARRS, Found, address_of, find, folder_of_address, is_zarr, kind_of
from swin2sr_ops.batch.tiff_series import TiffContent, tiff_content
from swin2sr_ops.calls import path_of
from swin2sr_ops.errors import FormatError, OutputError, RequestError, Swin2SROpsError
from swin2sr_ops.io.base import listing
from swin2sr_ops.io.geo.address import is_address, name_of
from swin2sr_ops.io.output.destination import missing_folder
from swin2sr_ops.io.storage.paths import is_url, local_path, without_separator

__all__ = ["FORMATS", "Entry", "collect", "named"]

#: Values of ``format``; ``same`` is the source's own format, or one that stores the same without loss.
FORMATS = ("same", "zarr", "tiff", "cog", "png")
_WRITTEN = {".zarr": ("zarr",), ".tif": ("tiff", "cog"), ".tiff": ("tiff", "cog"), ".png": ("png",)}
# Types that OME-XML cannot name; a plain TIFF stores them.
_NOT_OME = {"float16", "int64", "uint64", "bool"}


@dataclass(frozen=True)
class Entry:
    """One image, or one archive of many images, and its output.

    Attributes
    ----------
    source : str
        Address that `swin2sr_ops.open_source` opens.
    output : str
        Path of the result; without its suffix if ``ending`` is not empty: see `named`.
    options : dict
        ``axes``, ``level``, ``series``, ``array``, if given.
    collection : bool
        Whether the source is a Zarr of many images (plate, series, tree), which becomes one Zarr.
    ending : str
        Suffix to append together with the scale, which is known once the model is resolved.
    note : str
        Note for the user about this entry.
    """

    source: str
    output: str
    options: dict[str, Any] = field(default_factory=dict)
    collection: bool = False
    ending: str = ""
    note: str = ""


def named(entry: Entry, scale: int) -> str:
    """Return the output path of ``entry`` for the scale ``scale``.

    Examples
    --------
    >>> named(Entry("a.tif", "out/a", ending=".ome.tif"), 2)
    'out/a_x2.ome.tif'
    """
    if not entry.ending:
        return entry.output
    return f"{entry.output}_{f'x{scale}' if scale > 1 else 'restored'}{entry.ending}"


def collect(
    sources: Sequence[str],
    dst: str | None,
    *,
    format: str | None = None,
    series: int | None = None,
    array: str | None = None,
    level: int | None = None,
    axes: str | None = None,
    list_files: Sequence[str] = (),
) -> list[Entry]:
    """Collect one entry per output.

    Parameters
    ----------
    sources : sequence of str
        Files, Zarr images and archives, folders, globs, ``@LIST`` files, URLs, ``sample:NAME``.
    dst : str or None
        With one source, a file whose suffix gives its format; otherwise a folder, in which each output keeps
        its path relative to the deepest common folder of all sources. None: only for an estimate.
    format : str, optional
        One of `FORMATS`.
    series, array, level, axes : optional
        Apply to all sources. Without ``series``, each image of a TIFF becomes an output.
    list_files : sequence of str
        Files with one source per line.

    Raises
    ------
    RequestError, OutputError
        If there is no source, the output does not fit, or two sources would get the same output.
    """
    if format not in (None, *FORMATS):
        raise RequestError(f"format={format!r} is not one of {', '.join(FORMATS)}.")
    if dst is not None:
        path_of(dst, "The output")
    if dst == "-":
        raise RequestError("'-' is not an output, because pixels are not printed: name a file or a folder.")
    found = find(sources, list_files, dst)
    if not found:
        raise RequestError("No source was given: name a file, a folder, a pattern or a list file.")
    given = {"axes": axes, "level": level, "series": series, "array": array}
    options = {key: value for key, value in given.items() if value is not None}
    if _is_one_file(dst, found, format) or (dst is None and len(found) == 1 and not found[0].searched):
        return [_single(found[0], dst or "", options)]
    return _Folder(dst, format or "same", options, _common([f.root for f in found])).entries(found)


def _is_one_file(dst: str | None, found: Sequence[Found], format: str | None) -> bool:
    """Return True if ``dst`` names the only output and not a folder of outputs."""
    if dst is None:
        return False
    suffix = os.path.splitext(without_separator(dst))[1].lower()
    path = local_path(dst)
    if kind_of(dst) and len(found) > 1:
        raise RequestError(f"{dst!r} names one output, but there are {len(found)} sources: give a folder.")
    if suffix in _WRITTEN:
        if format not in (None, "same", *_WRITTEN[suffix]):
            raise RequestError(f"{dst!r} does not fit format={format!r}: omit one of them.")
        return True
    named_so = bool(re.match(r"\.[a-z]", suffix)) and not dst.endswith("/") and not (path is not None and path.is_dir())
    return named_so and format is None and len(found) == 1  # the sink's error lists the possible formats


def _single(source: Found, dst: str, options: dict[str, Any]) -> Entry:
    archive = "array" not in options and _is_collection(source.uri)
    if archive and dst and kind_of(dst) != "zarr":
        raise RequestError(f"{source.uri!r} is a Zarr of many images: its output must end with .zarr, unlike {dst!r}.")
    path = _file_of(source.uri)
    if path is None or kind_of(path) != "tiff" or "series" in options:
        note = "" if archive else _first_raster(source.uri, options)
        return Entry(source.uri, dst, {"series": 0, **options} if note else options, archive, note=note)
    content = tiff_content(path)
    plain = content.series == (0,)  # what is chosen here is said here
    chosen = options if plain else {"series": content.series[0], **options}
    return Entry(source.uri, dst, chosen, note=_first_of_several(source.uri, content))


def _first_of_several(uri: str, content: TiffContent) -> str:
    """Note that a file of several images gives only one output if the user chose none."""
    if len(content.series) < 2:
        return _left_out(uri, content)
    return (
        f"{uri!r} contains {len(content.series)} images; the first is used: choose with --series"
        f" ({listing(dict(zip(content.series, content.names, strict=True)))}), or give a folder as output to restore"
        " all."
    )


def _first_raster(uri: str, options: dict[str, Any]) -> str:
    """Note that a file of several rasters, such as netCDF variables, gives only the first if the user chose none."""
    if "series" in options or "array" in options or find_spec("rasterio") is None or is_zarr(uri):
        return ""
    from swin2sr_ops.io.geo.source import rasters_in

    try:
        names = rasters_in(uri)
    except FormatError:  # opening the source will report it
        return ""
    rasters = listing(dict(enumerate(names)))
    if not names:
        return ""
    return f"{uri!r} contains {len(names)} rasters; the first is used: choose with --series ({rasters})."


@dataclass(frozen=True)
class _Folder:
    """A folder of outputs."""

    dst: str | None
    format: str
    options: dict[str, Any]
    common: str | None

    def entries(self, found: Sequence[Found]) -> list[Entry]:
        self._check(found)
        entries: list[Entry] = []
        taken: dict[str, str] = {}
        together: set[str] = set()  # files of multi-file OME-TIFFs: opening one opens the whole set
        for source in found:
            path = local_path(source.uri)
            if path is not None and os.path.realpath(path) in together:
                continue
            try:
                made, files = self._of(source)
            except Swin2SROpsError:
                raise
            # A damaged file may raise anything here; opening it later fails that image, not the batch.
            except Exception:  # noqa: BLE001
                made, files = [Entry(source.uri, self._place(source), self.options, False, self._ending("zarr"))], set()
            together |= files
            others = {os.path.realpath(name) for name in files} - {os.path.realpath(source.uri)}
            if others:  # a master file after its planes: it opens them all
                entries = [entry for entry in entries if os.path.realpath(entry.source) not in others]
            for entry in made if self.dst is not None else ():
                other = taken.setdefault(entry.output + entry.ending, entry.source)
                if other != entry.source:
                    raise RequestError(
                        f"{other!r} and {entry.source!r} would both become {entry.output + entry.ending!r}:"
                        " rename one, or restore them into different folders."
                    )
            entries += made
        return entries

    def _check(self, found: Sequence[Found]) -> None:
        path = None if self.dst is None else local_path(self.dst)
        if path is None:
            return
        if path.is_file():
            raise OutputError(f"{self.dst!r} is a file: give a folder for the outputs, or one source and one output.")
        if not path.is_dir() and os.path.lexists(path):  # a link that leads nowhere, or in a circle
            raise OutputError(missing_folder(path))
        parent = Path(os.path.abspath(path)).parent
        if not parent.is_dir():
            raise OutputError(missing_folder(parent))
        for source in found:
            origin = local_path(source.uri)
            # `Path.resolve` raises if links form a cycle; that must fail only the one image.
            if origin is not None and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(origin)):
                raise OutputError(f"The output folder {self.dst!r} lies in the input {source.uri!r}: choose another.")

    def _of(self, source: Found) -> tuple[list[Entry], set[str]]:
        place = self._place(source)
        if is_zarr(source.uri):
            archive = "array" not in self.options and _is_collection(source.uri)
            if archive and self.format not in ("same", "zarr"):
                raise RequestError(f"{source.uri!r} is a Zarr of many images: it becomes a Zarr, not {self.format}.")
            return [Entry(source.uri, place, self.options, archive, self._ending("zarr"))], set()
        path = _file_of(source.uri)
        kind = "" if path is None else kind_of(path)
        content = tiff_content(path) if path is not None and kind == "tiff" else TiffContent()
        ending = self._ending(kind, content, path or source.uri)
        if "series" in self.options or len(content.series) == 1:
            options = self.options if content.series[0] == 0 else {"series": content.series[0], **self.options}
            several = _first_raster(source.uri, options)
            if several:
                options = {"series": 0, **options}
            note = "" if "series" in self.options else _left_out(source.uri, content) or several
            return [Entry(source.uri, place, options, False, ending, note)], set(content.files)
        made = [
            Entry(source.uri, f"{place}_s{k}" if place else "", {**self.options, "series": k}, False, ending)
            for k in content.series
        ]
        made[0] = replace(made[0], note=_left_out(source.uri, content))
        return made, set(content.files)

    def _place(self, source: Found) -> str:
        """Return folder and name of an output, without scale and suffix; empty for an estimate."""
        if self.dst is None:
            return ""
        folder, name = _folder_and_name(source.uri)
        if source.root:
            below = os.path.relpath(folder, self.common or source.root).replace(os.sep, "/")
            if local_path(source.uri) is None:
                below = folder.removeprefix(source.root if self.common is None else self.common).strip("/")
            name = name if below in ("", ".") else f"{below}/{name}"
        return f"{self.dst.rstrip('/')}/{name}" if is_url(self.dst) else os.path.join(self.dst, *name.split("/"))

    def _ending(self, kind: str, content: TiffContent | None = None, uri: str = "") -> str:
        if self.dst is None:
            return ""
        chosen = self.format
        if content is not None and chosen in ("same", "tiff") and _is_raster(uri, content):
            return ".tif"  # a COG, which keeps the georeference
        if chosen == "same":
            chosen = {"tiff": "tiff", "picture": "png"}.get(kind, "zarr")
        if chosen == "tiff":
            plain = content is not None and content.dtype in _NOT_OME
            return ".tif" if plain else ".ome.tif"
        return {"zarr": ".ome.zarr", "cog": ".tif", "png": ".png"}[chosen]


def _is_raster(uri: str, content: TiffContent) -> bool:
    """Return True if the raster reader opens ``uri``: JPEG 2000, VRT, any georeferenced file."""
    if content.geo or find_spec("rasterio") is None:
        return content.geo
    from swin2sr_ops.io.geo.files import is_raster

    try:
        return is_raster(uri)
    except FormatError:  # the file is missing; opening it will report that
        return False


def _left_out(uri: str, content: TiffContent) -> str:
    names = ", ".join(name for name in content.left_out if name)
    return f"{uri!r}: left out {names}, which do not show the object; series= restores one." if names else ""


def _file_of(uri: str) -> str | None:
    if uri.startswith("sample:"):
        from swin2sr_ops.io.samples import sample_path

        return str(sample_path(uri))
    path = local_path(uri)
    return None if path is None else str(path)


def _folder_and_name(uri: str) -> tuple[str, str]:
    """Split into the folder of the file or the outermost Zarr, and a name without suffix: ``plate_A_1_0``."""
    if uri.startswith("sample:"):
        return "", uri.removeprefix("sample:")
    if is_address(uri):
        return folder_of_address(uri), name_of(uri)
    path = local_path(uri)
    text = address_of(uri).rstrip("/") if path is None else Path(os.path.abspath(path)).as_posix()
    inside = re.match(r"(.*?)\.zarr/(.+)$", text)
    if inside:
        text = f"{inside[1].removesuffix('.ome')}_{inside[2].replace('/', '_')}"
    else:
        suffix = next((z for z in ZARRS if text.lower().endswith(z)), os.path.splitext(text)[1])
        text = text[: len(text) - len(suffix)].removesuffix(".ome")
    folder, _, name = text.rpartition("/")
    return folder or "/", name


def _common(roots: Sequence[str]) -> str | None:
    """Find the deepest folder that contains all ``roots``; None if there is none."""
    roots = [root for root in roots if root]
    remote = ["://" in root for root in roots]
    if not roots or any(remote) != all(remote) or len({r.split("://")[0] for r in roots if "://" in r}) > 1:
        return None
    try:
        return os.path.commonpath(roots) if not any(remote) else _common_url(roots)
    except ValueError:  # paths on different drives
        return None


def _common_url(roots: Sequence[str]) -> str:
    parts = [root.split("/") for root in roots]
    same = takewhile(lambda column: len(set(column)) == 1, zip(*parts, strict=False))
    return "/".join(column[0] for column in same)


def _is_collection(uri: str) -> bool:
    """Return True if ``uri`` is a Zarr of many images; False if it cannot be opened, which opening it reports."""
    if not is_zarr(uri):
        return False
    from swin2sr_ops.hooks.dispatch import open_source
    from swin2sr_ops.io.zarr.collection import open_collection

    try:
        found = open_collection(uri)
    except Swin2SROpsError:
        return False
    if found is None or len(found.images) != 1 or found.kind not in ("series", "tree"):
        return found is not None
    try:  # treat a group with only one image as that image
        open_source(uri)
    except Swin2SROpsError:
        return True
    return False
