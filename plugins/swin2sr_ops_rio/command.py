"""Define ``rio restore``, a command of rasterio's command line."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from swin2sr_ops import Swin2SROpsError, __version__, restore_image
from swin2sr_ops.hosting import OPTIONS, SIDES, Event, PyramidProgress, RunStart, TileDone

if find_spec("rasterio") is None:
    raise ImportError("rasterio, which rio is a part of, is not installed: `pip install 'swin2sr-ops[geo]'` brings it.")

import click

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

__all__ = ["restore"]


def _numbers(word: str | None, counts: tuple[int, ...], expected: str) -> Callable[..., Any]:
    """Return a converter that accepts a word, or integers separated by commas."""

    def convert(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Any:
        if value is None or value == word:
            return value
        try:
            numbers = tuple(int(part) for part in value.split(","))
        except ValueError:
            numbers = ()
        if len(numbers) not in counts:
            raise click.BadParameter(f"{value!r} is not {expected}.")
        return numbers[0] if len(numbers) == 1 else numbers

    return convert


_WORKERS = _numbers("gpus", (1,), "gpus or a number of processes such as 4")
_KINDS: dict[str, dict[str, Any]] = {
    "text": {},
    "whole": {"type": int},
    "number": {"type": float},
    "halo": {"callback": _numbers("exact", (1,), "exact or a number of pixels such as 16"), "metavar": "N"},
    "tile": {"callback": _numbers(None, (1, 2), "N or ROWS,COLUMNS, such as 512 or 256,1024"), "metavar": "N"},
}


def _option(name: str, help: str | None = None) -> Callable[[Any], Any]:
    """Return the decorator for an option of a request; ``help`` replaces its text."""
    option = (OPTIONS | SIDES)[name]
    given: dict[str, Any] = {"metavar": option.metavar}
    if option.default is not None:
        given |= {"default": option.default, "show_default": True}
    line = option.line.replace("SRC", "INPUT")
    sentence = re.sub(r"^[a-z]+(?= )", lambda word: word[0].capitalize(), line) + "."  # but no value, such as auto
    return click.option("--" + name, **(given | _KINDS[option.kind]), help=help or sentence)


@click.command("restore", short_help="Super-resolve or denoise a raster.")
@click.argument("src", metavar="INPUT")
@click.argument("dst", metavar="OUTPUT")
@_option("model", "fast, good, best, a name, a file; or two: colours,others.")
@_option("scale")
@_option("halo", "Pixels around a tile, such as 16: faster.")
@_option("range")
@_option("nodata", "Stored value of invalid pixels (default: the raster's nodata).")
@_option("consistent")
@_option("mask")
@_option("tile")
@_option("level", "Overview to restore (default: the full raster).")
@_option("series", "Raster of a file with several (default: the first).")
@_option("device")
@_option("precision")
@_option("engine")
@_option("interval")
@_option("calibration")
@_option("limit")
@_option("noise")
@click.option("--co", "creation", multiple=True, metavar="NAME=VALUE",
    help="Creation option of a GeoTIFF: COMPRESS=DEFLATE|LZW|ZSTD, LEVEL=N, BLOCKSIZE=N.")  # fmt: skip
@click.option("--workers", callback=_WORKERS, metavar="N|gpus", help="Processes to share the work, or one per GPU.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")
@click.option("--restart", is_flag=True, help="Start anew, and discard the unfinished output.")
@click.option("--quiet", is_flag=True, help="No progress and no summary.")
@click.version_option(__version__, message="rio restore of swin2sr-ops %(version)s")
def restore(src: str, dst: str, quiet: bool, **options: Any) -> None:
    """Restore a raster with Swin2SR or SwinIR, tile by tile, in bounded memory.

    CRS, affine, band names, nodata and masks are kept in OUTPUT: a Cloud Optimized
    GeoTIFF if it ends with .tif and INPUT is georeferenced, or OME-Zarr (.ome.zarr), or PNG.
    Stopped or killed, the same command resumes the run.

    \b
      rio restore scene.tif scene_x2.tif
      rio restore scene.tif scene_x2.tif --co COMPRESS=ZSTD --co BLOCKSIZE=256
      rio restore scene.tif scene_x2.tif --model tiny-x2-rgb,tiny-x2-gray --range p1,p99.8
    """
    try:
        with _Progress(quiet) as progress:
            given = {name: value for name, value in options.items() if value != ()}
            report = restore_image(src, dst, progress=progress.show, **given)
    except Swin2SROpsError as exc:
        raise click.ClickException(" ".join(str(exc).split())) from exc
    except KeyboardInterrupt:
        click.echo("rio restore: stopped; the same command resumes the run", err=True)
        raise click.exceptions.Exit(130) from None
    if not quiet:
        click.echo(str(report))


class _Progress:
    """A bar of output pixels on standard error, if it is a terminal."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.bar: ProgressBar[int] | None = None

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.render_finish()

    def show(self, event: Event) -> None:
        """Show an event of `swin2sr_ops.restore_image`."""
        if self.quiet:
            return
        if isinstance(event, RunStart):
            self.bar = click.progressbar(length=event.pixels, label="restoring", file=sys.stderr)
            self.bar.update(event.pixels * event.done // event.total)
        elif isinstance(event, TileDone) and self.bar is not None:
            self.bar.update(event.pixels)
        elif isinstance(event, PyramidProgress) and self.bar is not None:
            self.bar.label = f"overview {event.level}"
            self.bar.render_progress()
