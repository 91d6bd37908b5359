"""Read PNG, JPEG, WebP, BMP and similar files as a whole, and write PNG: formats for small images."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.io.base import PICTURE_SUFFIXES, ImageInfo, Region, check_axes, check_region, chunk_grid, json_ready
from swin2sr_ops.io.output.claim import RunKey
from swin2sr_ops.io.output.destination import Destination
from swin2sr_ops.io.output.options import FormatOption, reject_options
from swin2sr_ops.io.output.staged_file import StagedFile
from swin2sr_ops.io.output.staging import Layout, Staging
from swin2sr_ops.io.storage.paths import absolute_uri, existing_path
from swin2sr_ops.io.tiff.tags import ORIENTATION

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["OPTIONS", "PictureSource", "PngSink", "create_sink", "open_source"]

#: Options of a request that PNG has; ``pyramid`` has no effect.
OPTIONS = {"pyramid": FormatOption(True, bool)}
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "JPEG2000", "PPM")
_MODES = {"1", "L", "LA", "RGB", "RGBA", "I;16", "I", "F"}  # modes that convert to an array directly
_LOSSY = {".jpg", ".jpeg", ".jpe", ".webp"}
_MOST_BYTES = 2 << 30  # most bytes of pixels in a PNG, which is encoded in memory
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


@dataclass
class PictureSource:
    """A picture that is decoded when opened; pickles as its path, and is decoded again in another process."""

    uri: str
    axes: str | None = None
    _pixels: NDArray[Any] | None = field(default=None, repr=False, compare=False)
    _info: ImageInfo | None = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "uri": absolute_uri(self.uri), "_pixels": None}

    @property
    def info(self) -> ImageInfo:
        """Metadata of the picture."""
        if self._info is None:
            pixels, kind = self._decode()
            axes = "YXS" if pixels.ndim == 3 else "YX"
            if self.axes is not None:
                axes = check_axes(self.axes, pixels.ndim)
            name = Path(self.uri).stem
            self._info = ImageInfo(
                shape=pixels.shape, axes=axes, dtype=pixels.dtype, chunks=pixels.shape, name=name, format=kind
            )
        return self._info

    def read(self, region: Region) -> NDArray[Any]:
        """Return a copy of ``region``."""
        region = check_region(region, self.info.shape)
        pixels = self._pixels  # another thread may close the source
        return (self._decode()[0] if pixels is None else pixels)[region].copy()

    def identity(self) -> dict[str, Any]:
        """Return the file's size and modification time, which change with it."""
        path = existing_path(self.uri)
        assert path is not None
        with _naming(self.uri):
            seen = path.stat()
        return {"files": [[seen.st_size, seen.st_mtime_ns]]}

    def close(self) -> None:
        """Free the pixels; the next `read` decodes them again."""
        self._pixels = None

    def _decode(self) -> tuple[NDArray[Any], str]:
        path = existing_path(self.uri)
        assert path is not None
        with _naming(self.uri):
            if _is_deep_png(path):
                pixels, kind = _decode_png(path), "PNG"
            else:
                pixels, kind = _decode_picture(path, self.uri)
        self._pixels = pixels
        return pixels, kind


def open_source(
    uri: str, *, axes: str | None = None, level: int = 0, series: int = 0, array: str | None = None
) -> PictureSource | None:
    """Open the picture at ``uri``, or return None if it is no picture.

    EXIF orientation is applied, and palettes are converted to colours. ``axes`` may rename the dimensions;
    ``level``, ``series`` and ``array`` belong to other formats.

    Raises
    ------
    FormatError
        If nothing is there, it is truncated, has several frames, or colours other than gray and RGB.
    RequestError
        If an option does not fit.
    """
    path = existing_path(uri)
    if path is None or path.is_dir() or not _is_picture(path, uri):
        return None
    if level or series or array:
        raise RequestError(f"level, series and array do not apply to the picture {uri!r}.")
    source = PictureSource(uri, axes)
    assert source.info
    return source


def _is_picture(path: Path, uri: str) -> bool:
    from PIL import Image, UnidentifiedImageError

    Image.init()  # formats that are named in `open` must be loaded
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS):
                return True
    except UnidentifiedImageError as exc:
        if path.suffix.lower() not in PICTURE_SUFFIXES:
            return False
        raise FormatError(f"{uri!r} has the suffix {path.suffix}, but is damaged or of another format.") from exc
    except Image.DecompressionBombError as exc:
        raise FormatError(
            f"{uri!r} is too large for a picture, which is read at once: save it as TIFF or Zarr."
        ) from exc
    except (OSError, SyntaxError, ValueError, struct.error) as exc:  # Pillow raises SyntaxError for a broken header
        raise FormatError(f"{uri!r} is truncated or damaged: {exc}.") from exc


@contextmanager
def _naming(uri: str) -> Iterator[None]:
    try:
        yield
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error) as exc:
        raise FormatError(f"{uri!r} is truncated or damaged: {exc}.") from exc


def _is_deep_png(path: Path) -> bool:
    """Return True if a PNG has 16 bits, which Pillow reduces to 8 in colour images."""
    with path.open("rb") as file:
        header = file.read(26)
    return header.startswith(_PNG_MAGIC) and len(header) == 26 and header[24] == 16


def _decode_png(path: Path) -> NDArray[Any]:
    import imagecodecs
    from PIL import Image

    encoded = path.read_bytes()
    pixels = np.asarray(imagecodecs.png_decode(encoded))
    if b"eXIf" not in encoded:
        return pixels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path, formats=["PNG"]) as image:
            return _upright(pixels, image.getexif().get(ORIENTATION, 1))


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn and mirror ``pixels``, rows and columns first, by the orientation of EXIF and TIFF."""
    rows, columns = (-1 if orientation in (3, 4, 7, 8) else 1), (-1 if orientation in (2, 3, 6, 7) else 1)
    turned = pixels.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else pixels
    return turned[::rows, ::columns]


def _decode_picture(path: Path, uri: str) -> tuple[NDArray[Any], str]:
    from PIL import Image, ImageOps

    Image.init()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path, formats=_FORMATS) as image:
            frames, kind = getattr(image, "n_frames", 1), str(image.format)
            if frames > 1 and kind != "MPO":  # a camera's MPO is a JPEG followed by previews
                raise FormatError(f"{uri!r} has {frames} frames: save the one to restore, or all as TIFF or Zarr.")
            upright = _gray_or_colour(ImageOps.exif_transpose(image), uri)
            return np.asarray(upright), "JPEG" if kind == "MPO" else kind


def _gray_or_colour(image: Image, uri: str) -> Image:
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    if image.mode not in _MODES:
        raise FormatError(f"{uri!r} stores {image.mode} colours: convert it to RGB first.")
    return image


def create_sink(
    uri: str,
    info: ImageInfo,
    *,
    chunks: tuple[int, ...] | None = None,  # a parameter of every format
    pyramid: bool = True,
    overwrite: bool = False,
    source: str | None = None,
    run: RunKey | None = None,
    **options: Any,
) -> PngSink | None:
    """Start a PNG at ``uri``, or return None if ``uri`` does not end with ``.png``.

    Pixels are staged as a Zarr array in ``<uri>.partial``, from which a killed run is resumed. PNG has
    no levels, so ``pyramid`` has no effect.

    Raises
    ------
    OutputError
        If something exists there, the folder is missing, the output overlaps the input, or the disk fails.
    RequestError
        If PNG cannot store such an image, or ``uri`` has the suffix of a lossy format.
    """
    suffix = Path(uri).suffix.lower()
    if suffix in _LOSSY:
        raise RequestError(
            f"{uri!r} has the suffix of a lossy format, which would undo the restoration: write .png, .tif or .zarr."
        )
    if suffix != ".png":
        return None
    reject_options(options, "PNG")
    if info.dtype not in (np.uint8, np.uint16) or info.axes not in ("YX", "YXS") or info.size("S") not in (1, 2, 3, 4):
        raise RequestError(
            f"PNG stores uint8 or uint16 with the axes YX or YXS, not {info.dtype} {info.axes} {info.shape}:"
            f" write .tif or .zarr{', or name the colours S: axes=YXS' if info.axes == 'YXC' else ''}."
        )
    if info.extra.get("alpha") == "premultiplied":
        raise RequestError(
            "The colours of the input are multiplied by their opacity (premultiplied alpha), which PNG cannot record:"
            " write .tif, or convert the input to unassociated alpha first."
        )
    if info.nbytes > _MOST_BYTES:
        raise RequestError(
            f"A PNG is encoded as a whole, and these pixels of {info.shape} take {info.nbytes / 1e9:.1f} GB, more than"
            f" {_MOST_BYTES / 1e9:.1f}: write .tif or .zarr."
        )
    destination = Destination.at(uri, overwrite=overwrite)
    destination.check(source)
    unit = chunk_grid(info, chunks)
    layout = Layout(info.axes, info.shape, info.dtype, unit, pyramid=False, codec="lz4")
    return PngSink(uri, info, unit, Staging.begin(destination, layout, run))


@dataclass
class PngSink(StagedFile):
    """A PNG that is being written; ``provenance`` goes into a text chunk.

    Blocks are those of the source; the orientation of a TIFF is applied at the end, since PNG's readers ignore it.
    """

    def _encode(self, finished: Path, provenance: dict[str, Any]) -> None:
        import imagecodecs

        pixels = _upright(np.asarray(self.staging.level(0)[:]), self.info.extra.get("orientation", 1))
        encoded = bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels)))
        finished.write_bytes(_with_text(encoded, provenance))


def _with_text(png: bytes, provenance: dict[str, Any]) -> bytes:
    """Insert an iTXt chunk named swin2sr_ops before the end of ``png``."""
    import json
    import zlib

    if not provenance:
        return png
    body = b"iTXt" + b"swin2sr_ops\0\0\0\0\0" + json.dumps(json_ready(provenance)).encode()
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:-12] + chunk + png[-12:]  # the last 12 bytes are the IEND chunk
