"""Define the parser, and the commands that restore images. Only argparse is loaded, so that ``--help`` is fast."""

from __future__ import annotations

import argparse

from swin2sr_ops import __version__
from swin2sr_ops.cli.arguments import Parser, size, whole, workers
from swin2sr_ops.cli.evidence_parsers import add_advise, add_audit
from swin2sr_ops.cli.installation_parsers import add_completion, add_hosts, add_plugins
from swin2sr_ops.cli.model_parsers import add_evaluate, add_export, add_models, add_train
from swin2sr_ops.cli.options import add_options, add_reading, add_request

__all__ = ["build_parser"]

_EPILOG = """\
examples:
  swin2sr-ops restore sample:cells cells_x2.ome.zarr     a first try, on a sample of the package
  swin2sr-ops restore stack.ome.tif stack_x2.ome.zarr    a large image, tile by tile
  swin2sr-ops restore scans/ restored/                   all images of a folder
  swin2sr-ops plan stack.ome.tif --tile 512              estimate the cost before anything runs
  swin2sr-ops models --scale 4                           models of scale 4
  swin2sr-ops hosts                                      which applications here list the operator
"""

_INFO_EPILOG = """\
examples:
  swin2sr-ops info stack.ome.tif
  swin2sr-ops info plate.ome.zarr                        the images of a plate
  swin2sr-ops info image.ome.zarr --level 2 --json
"""

_PLAN_EPILOG = """\
examples:
  swin2sr-ops plan stack.ome.tif
  swin2sr-ops plan stack.ome.tif --tile 512 --halo 16
  swin2sr-ops plan scans/ --to /data/restored            a folder, and if it fits the disk
"""

_RESTORE = """\
Restore each SRC, tile by tile, in bounded memory. With one image DST may be a file; else it is a
folder, where outputs are called NAME_x2 and keep their place below the folder of all sources.
Stopped or killed, the same command resumes the run.
"""

_RESTORE_EPILOG = """\
examples:
  swin2sr-ops restore cells.tif cells_x2.ome.zarr
  swin2sr-ops restore plate.zarr/A/1/0 a1_x2.ome.zarr --range p1,p99.8
  swin2sr-ops restore photo.png photo_x2.png --model ./Swin2SR_ClassicalSR_X2_64.pth
  swin2sr-ops restore scans/ restored/ --format zarr --report report.json
  swin2sr-ops restore 'scans/**/*_DAPI.tif' restored/ --dry-run
  swin2sr-ops restore --list files.txt restored/ --workers 4

exit status:
  0 all images are restored, now or before; 1 some images failed; 2 the request is not valid; 130 stopped
  (Ctrl-C or SIGTERM: running tiles are finished and kept)

--progress json:
  one object per line, with these fields if they apply: kind (estimate, range, image, start, tile,
  pyramid, part, part end, image end, end, note), image, done, total, level, seconds_left, text
"""

#: Help of ``--series`` where the output can be a folder.
_SERIES = "image of a TIFF with several (default: the first; into a folder, each)"

_SERVE = """\
Serve SRC restored: an OME-Zarr whose chunks are restored when they are read, and a page that shows it beside
its source. Nothing is stored, unless --cache is given.
"""

_SERVE_EPILOG = """\
examples:
  swin2sr-ops serve stack.ome.tif                        then open http://127.0.0.1:8000/
  swin2sr-ops serve slide.ome.zarr --model small-x2-rgb --port 0
  swin2sr-ops serve slide.ome.zarr --cache looked/ --limit 20GB
  swin2sr-ops serve plate.ome.zarr --host 0.0.0.0 --token SECRET

--cache FOLDER:
  restored chunks are kept in FOLDER as the unfinished output of a run: `restore SRC FOLDER/NAME.ome.zarr`
  with the same options finishes it (of a plate or tree: FOLDER/NAME.zarr)
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``swin2sr-ops`` with all commands."""
    parser: argparse.ArgumentParser = Parser(
        prog="swin2sr-ops",
        description="Restore large images with Swin2SR and SwinIR: super-resolution, denoising, JPEG clean-up.\n"
        "The result does not depend on how the image is cut into tiles.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"swin2sr-ops {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _restore(commands)
    _info(commands)
    _plan(commands)
    add_models(commands)
    add_plugins(commands)
    add_hosts(commands)
    _serve(commands)
    add_advise(commands)
    add_audit(commands)
    add_evaluate(commands)
    add_train(commands)
    add_export(commands)
    add_completion(commands)
    return parser


def _restore(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "restore",
        help="restore images into new ones",
        description=_RESTORE,
        epilog=_RESTORE_EPILOG,
    )
    _add_sources(parser)
    parser.add_argument("dst", metavar="DST", help="a folder; or .ome.zarr, .zarr, .tif, .ome.tif or .png of one image")
    add_request(parser, help=_SERIES)
    _add_output(parser)
    group = parser.add_argument_group("running")
    group.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    group.add_argument("--restart", action="store_true", help="start anew, and discard the unfinished output")
    group.add_argument("--fail-fast", action="store_true", help="start no image after one that failed")
    group.add_argument("--dry-run", action="store_true", help="print the plan and its cost, and do nothing")
    group.add_argument("--no-disk-check", action="store_true", help="run even if the outputs may not fit the disk")
    group.add_argument("--workers", metavar="N|gpus", type=workers, help="processes to share the work, or one per GPU")
    group.add_argument("--scheduler", metavar="ADDRESS", help="a running Dask cluster, such as tcp://host:8786")
    group.add_argument("--report", metavar="FILE", help="write results, failures and their reasons as JSON")
    group.add_argument("--quiet", action="store_true", help="no progress and no summary")
    group.add_argument(
        "--progress", choices=("bar", "json"), help="json: events as lines of JSON on stderr (default: bar)"
    )
    group.add_argument("--json", action="store_true", help="print the report as JSON")


def _add_sources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "src",
        metavar="SRC",
        nargs="*",
        help="TIFF, OME-TIFF, GeoTIFF, Zarr, OME-Zarr, plate, PNG, JPEG, sample:cells; a folder of them, a quoted"
        " pattern ('**' for any folders), a URL, or @FILE with one of these per line",
    )
    parser.add_argument("--list", metavar="FILE", action="append", help="the same as @FILE; lines with # are ignored")
    parser.add_argument(
        "--format",
        choices=("same", "zarr", "tiff", "cog", "png"),
        help="format of outputs in a folder (default: same as SRC, without loss)",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = _add_zarr(parser)
    add_options(group, "limit")
    group.add_argument(
        "--co", metavar="NAME=VALUE", action="append", help="GeoTIFF: COMPRESS=DEFLATE|LZW|ZSTD, LEVEL=N, BLOCKSIZE=N"
    )
    group.add_argument(
        "--allow-missing", action="store_true", help="finish an archive without images that cannot be restored"
    )


def _add_zarr(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("output")
    group.add_argument("--ngff", choices=("0.4", "0.5"), help="version of OME-Zarr (default: 0.5, which is Zarr v3)")
    add_options(group, "chunks", "shards")
    group.add_argument("--no-pyramid", action="store_true", help="only the full resolution")
    group.add_argument(
        "--labels",
        choices=("leave", "carry"),
        help="labels of an OME-Zarr: carry enlarges and copies them, leave (default) does not",
    )
    group.add_argument("--context", action="store_true", help="mark pixels near nodata (OME-Zarr outputs only)")
    group.add_argument("--spread", action="store_true", help="with --ensemble 8: also write how far its results differ")
    add_options(group, "interval", "calibration", "noise")
    return group


def _serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "serve",
        help="serve an image, restored where it is viewed",
        description=_SERVE,
        epilog=_SERVE_EPILOG,
    )
    parser.add_argument("src", metavar="SRC", help="an image, a plate, or a tree of Zarr groups")
    add_request(parser)
    _add_zarr(parser)
    group = parser.add_argument_group("cache")
    group.add_argument("--cache", metavar="FOLDER", help="keep restored chunks (default: in memory, up to 1 GB)")
    group.add_argument(
        "--limit", metavar="SIZE", type=size, help="size of the cache, such as 20GB; the oldest chunks go"
    )
    group = parser.add_argument_group("server")
    group.add_argument("--port", type=whole, default=8000, help="default: 8000; 0: any that is free")
    group.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, for this machine alone")
    group.add_argument("--token", help="secret word that every request must contain")
    group.add_argument("--origin", metavar="URL", action="append", help="another web page that may read; repeatable")
    group.add_argument(
        "--most", metavar="N", type=whole, help="requests in progress before the server answers 503 (default: 1000)"
    )
    group.add_argument("--quiet", action="store_true", help="no progress and no notes")


def _info(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "info",
        help="describe an image",
        description="Describe SRC: axes, sizes, type, place, channels.",
        epilog=_INFO_EPILOG,
    )
    parser.add_argument("src", metavar="SRC", help="an image that could be restored")
    add_reading(parser)
    parser.add_argument("--json", action="store_true", help="print as JSON")


def _plan(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "plan",
        help="estimate the cost of a restoration",
        description="Estimate the cost of restoring each SRC: tiles, memory, time, bytes;\n"
        "for one image also its tiling and the expected error.",
        epilog=_PLAN_EPILOG,
    )
    _add_sources(parser)
    parser.add_argument("--to", dest="dst", metavar="DST", help="planned location of the outputs, to check its disk")
    add_request(parser, help=_SERIES)
    parser.add_argument("--json", action="store_true", help="print as JSON")
