"""The command line: ``swin2sr-ops restore``, ``info``, ``plan`` and ``models``.

Only argparse is loaded until a command runs: ``--help`` costs nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from swin2sr_ops import __version__
from swin2sr_ops.errors import RequestError, Swin2SROpsError

__all__ = ["main"]

_EPILOG = """\
examples:
  swin2sr-ops restore sample:cells cells_x2.ome.zarr     a first try, on a sample of the package
  swin2sr-ops restore stack.ome.tif stack_x2.ome.zarr    a large image, tile by tile
  swin2sr-ops plan stack.ome.tif --tile 512              what that would cost, before anything runs
  swin2sr-ops models --scale 4                           models that enlarge four times
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with an option as every other error is said: in one sentence, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message}. `{self.prog} --help` says more.")


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(
        prog="swin2sr-ops",
        description="Restore large images with Swin2SR and SwinIR: super-resolution, denoising, JPEG clean-up.\n"
        "The result does not depend on how the image is cut into tiles.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"swin2sr-ops {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _restore(commands)
    _info(commands)
    _plan(commands)
    _models(commands)
    return parser


def _restore(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "restore",
        help="restore an image into a new one",
        description="Restore SRC into DST, tile by tile, in bounded memory.",
        epilog="examples:\n"
        "  swin2sr-ops restore cells.tif cells_x2.ome.zarr\n"
        "  swin2sr-ops restore plate.zarr/A/1/0 a1_x2.ome.zarr --range p1,p99.8\n"
        "  swin2sr-ops restore photo.png photo_x2.png --model ./Swin2SR_ClassicalSR_X2_64.pth\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("src", metavar="SRC", help="TIFF, OME-TIFF, Zarr, OME-Zarr, PNG or JPEG; or sample:cells")
    parser.add_argument("dst", metavar="DST", help="ends with .ome.zarr or .zarr, .tif or .ome.tif, or .png")
    _add_request(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace DST if it exists")
    parser.add_argument("--quiet", action="store_true", help="no progress and no summary")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def _info(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "info", help="what an image is", description="Say what SRC holds: axes, sizes, type, place, channels."
    )
    parser.add_argument("src", metavar="SRC", help="an image that could be restored")
    _add_reading(parser)
    parser.add_argument("--json", action="store_true", help="print as JSON")


def _plan(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "plan",
        help="what a restoration would cost",
        description="Say how SRC would be cut and what that costs: tiles, over-read, memory, expected error.",
    )
    parser.add_argument("src", metavar="SRC", help="an image that could be restored")
    _add_request(parser)
    parser.add_argument("--json", action="store_true", help="print as JSON")


def _models(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "models",
        help="list models, or fetch one",
        description="List the models that are known by name: those that come with the package, and all released ones.",
    )
    parser.add_argument("name", nargs="?", help="show everything about one model")
    parser.add_argument("--task", help="only this task, such as classical_sr, real_sr, denoise")
    parser.add_argument("--scale", type=_whole, help="only this enlargement")
    parser.add_argument("--channels", type=_whole, choices=(1, 3), help="only models for this many channels")
    parser.add_argument("--download", metavar="NAME", help="fetch a model's weights into the cache")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def _add_reading(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("reading")
    group.add_argument("--axes", help="one letter per dimension where SRC does not say, such as TCZYX or YXS")
    group.add_argument("--level", type=_whole, help="resolution level of a pyramid (default: 0, the full one)")
    group.add_argument("--series", type=_whole, help="image of a TIFF that holds several (default: 0)")
    group.add_argument("--array", help="array inside a Zarr group")


def _add_request(parser: argparse.ArgumentParser) -> None:
    _add_reading(parser)
    group = parser.add_argument_group("model")
    group.add_argument("--model", default="auto", help="a name from `models`, a checkpoint, or auto (default)")
    group.add_argument("--scale", type=_whole, help="enlargement that the model must have")
    group.add_argument("--value-range", type=_number, help="for a checkpoint that does not say it: 1 or 255")
    group.add_argument("--window", type=_whole, help="for a checkpoint that does not say it: 8 or 7")
    group = parser.add_argument_group("values and cutting")
    group.add_argument(
        "--range", default="auto", metavar="R", help="auto, dtype, LO,HI or percentiles such as p1,p99.8"
    )
    group.add_argument(
        "--halo", default="exact", type=_halo, help="exact (default), or pixels around a tile, such as 16: faster"
    )
    group.add_argument("--tile", type=_tile, help="input pixels per tile, N or ROWS,COLUMNS (default: what fits)")
    group.add_argument("--nodata", type=float, help="stored value that means: no pixel here (NaN always does)")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    group.add_argument("--precision", default="auto", help="auto (float32), float32, float64, bfloat16")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _halo(text: str) -> int | str:
    try:
        return text if text == "exact" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither exact nor a number of pixels such as 16") from None


def _tile(text: str) -> int | tuple[int, int]:
    try:
        sides = [int(part) for part in text.split(",")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2):
        raise argparse.ArgumentTypeError(f"{text!r} is neither N nor ROWS,COLUMNS, such as 512 or 256,1024")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, or 2 after a sentence on standard error."""
    try:
        args = _parser().parse_args(argv)
        status: int = import_module(f"swin2sr_ops.cli.{args.command}").main(args)
        sys.stdout.flush()  # here, so that a reader who went away is noticed before the interpreter ends
    except Swin2SROpsError as exc:
        print(f"swin2sr-ops: error: {' '.join(str(exc).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("swin2sr-ops: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return status
