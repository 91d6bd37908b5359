"""Define commands and their options, with the help texts. Only argparse is loaded, so that ``--help`` is fast."""

from __future__ import annotations

import argparse

from swin2sr_ops import __version__
from swin2sr_ops.cli.arguments import Parser, halo, number, size, tile, whole, workers
from swin2sr_ops.cli.evidence_parsers import add_advise, add_audit
from swin2sr_ops.cli.further_parsers import add_completion, add_export

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
  swin2sr-ops plan scans/ --to /data/restored            of a folder, and whether it fits the disk
"""

_MODELS_EPILOG = """\
examples:
  swin2sr-ops models                                     all that are known by name
  swin2sr-ops models --scale 4 --channels 1
  swin2sr-ops models tiny-x2-gray                        all about one
  swin2sr-ops models --download swin2sr-classical-x2
"""

_PLUGINS_EPILOG = """\
examples:
  swin2sr-ops plugins                                    what is installed, and its state
  SWIN2SR_OPS_BLOCK=qgis swin2sr-ops plugins             the same without one plugin
  SWIN2SR_OPS_PLUGINS=0 swin2sr-ops plugins              the built-ins only

exit status:
  0 all enabled plugins are loaded; 1 a plugin is broken, and left out
"""

_HOSTS_EPILOG = """\
examples:
  swin2sr-ops hosts                                      one line per application
  swin2sr-ops hosts --json                               the same for programs
  swin2sr-ops hosts install qgis                         register the operator in an application

states:
  working  it lists and loads the operator               present  it is installed, without the operator
  broken   it lists the operator but cannot load it      absent   it is not installed
  unknown  its adapter failed or took too long
"""

_EVALUATE_EPILOG = """\
examples:
  swin2sr-ops evaluate --model tiny-x2-rgb --data Set5/ --scale 2 --baseline
  swin2sr-ops evaluate --model a.safetensors --model b.pth --data classic5/ --scale 1 --degrade jpeg:10
  swin2sr-ops evaluate --model tiny-x2-gray --data cells/ --scale 2 --metrics psnr,si_psnr,frc
  swin2sr-ops evaluate --model tiny-x2-rgb --data Set5/ --scale 2 --json set5.json --sheet set5.png
"""

_TRAIN = """\
Train a model on images, or fine-tune one. The same command again resumes the run.
"""

_TRAIN_EPILOG = """\
examples:
  swin2sr-ops train --init tiny-x2-gray --data fields/ --out run/ --export mine.safetensors
  swin2sr-ops train tiny-x2-gray --data images/ --out runs/gray --validate heldout/ --export gray.safetensors
  swin2sr-ops train my.toml --paired --data pairs/ --out runs/mine
  swin2sr-ops train --init swin2sr-lightweight-x2 --channels 1 --data fields/ --out run/
  swin2sr-ops train --recipe-of tiny-x2-gray            print a recipe to start from
  torchrun --nproc-per-node 4 --no-python swin2sr-ops train my.toml --data images/ --out runs/mine

The first command is all that fine-tuning needs: a folder with some dozen fields as TIFF, PNG or Zarr.
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
  what was looked at is kept in FOLDER as the unfinished output of a run: `restore SRC FOLDER/NAME.ome.zarr`
  with the same options finishes it
"""


def build_parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = Parser(
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
    _plugins(commands)
    _hosts(commands)
    _serve(commands)
    add_advise(commands)
    add_audit(commands)
    _evaluate(commands)
    _train(commands)
    add_export(commands)
    add_completion(commands)
    return parser


def _restore(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "restore",
        help="restore images into new ones",
        description=_RESTORE,
        epilog=_RESTORE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_sources(parser)
    parser.add_argument("dst", metavar="DST", help="a folder; or .ome.zarr, .zarr, .tif, .ome.tif or .png of one image")
    _add_request(parser)
    _add_output(parser)
    group = parser.add_argument_group("running")
    group.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    group.add_argument("--restart", action="store_true", help="start anew, discard what an earlier run has left")
    group.add_argument("--fail-fast", action="store_true", help="start no image after one that failed")
    group.add_argument("--dry-run", action="store_true", help="print what would be done and what it costs, do nothing")
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
    group.add_argument(
        "--interval", metavar="P", type=number, help="half widths that hold P %% of the truth; with --calibration"
    )
    group.add_argument("--calibration", metavar="FILE", help="of the model: a file that `evaluate --calibrate` wrote")
    group.add_argument(
        "--allow-missing", action="store_true", help="finish an archive without images that cannot be restored"
    )


def _add_zarr(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("output")
    group.add_argument("--ngff", choices=("0.4", "0.5"), help="version of OME-Zarr (default: 0.5, which is Zarr v3)")
    group.add_argument("--chunks", metavar="N", type=whole, help="side of a Zarr chunk in pixels (default: 512)")
    group.add_argument("--shards", metavar="N", type=whole, help="side of a Zarr shard, several chunks (default: none)")
    group.add_argument("--no-pyramid", action="store_true", help="only the full resolution")
    group.add_argument(
        "--labels",
        choices=("leave", "carry"),
        help="labels of an OME-Zarr: carry enlarges and copies them, leave (default) does not",
    )
    group.add_argument("--context", action="store_true", help="mark pixels near nodata (OME-Zarr outputs only)")
    group.add_argument("--spread", action="store_true", help="with --ensemble 8: also write how far its results differ")
    return group


def _serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "serve",
        help="restore an image where it is looked at",
        description=_SERVE,
        epilog=_SERVE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("src", metavar="SRC", help="an image, a plate, or a tree of Zarr groups")
    _add_request(parser)
    _add_zarr(parser)
    group = parser.add_argument_group("cache")
    group.add_argument("--cache", metavar="FOLDER", help="keep what was restored (default: in memory, up to 1 GB)")
    group.add_argument(
        "--limit", metavar="SIZE", type=size, help="size of the cache, such as 20GB; the oldest chunks go"
    )
    group = parser.add_argument_group("server")
    group.add_argument("--port", type=whole, default=8000, help="default: 8000; 0: any that is free")
    group.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, for this machine alone")
    group.add_argument("--token", help="a word that every request must contain")
    group.add_argument("--origin", metavar="URL", action="append", help="a web page that may read, too; repeatable")
    group.add_argument(
        "--most", metavar="N", type=whole, help="requests in progress before the server answers 503 (default: 1000)"
    )
    group.add_argument("--quiet", action="store_true", help="no progress and no notes")


def _info(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "info",
        help="what an image is",
        description="Say what SRC holds: axes, sizes, type, place, channels.",
        epilog=_INFO_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("src", metavar="SRC", help="an image that could be restored")
    _add_reading(parser)
    parser.add_argument("--json", action="store_true", help="print as JSON")


def _plan(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "plan",
        help="what a restoration would cost",
        description="Say what restoring each SRC would cost: tiles, memory, time, bytes;\n"
        "of one image also how it is cut, and the expected error.",
        epilog=_PLAN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_sources(parser)
    parser.add_argument("--to", dest="dst", metavar="DST", help="planned location of the outputs, to check its disk")
    _add_request(parser)
    parser.add_argument("--json", action="store_true", help="print as JSON")


def _models(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "models",
        help="list models, or fetch one",
        description="List the models that are known by name: those that come with the package,\nand all released ones.",
        epilog=_MODELS_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", help="show everything about one model")
    parser.add_argument("--task", help="only this task, such as classical_sr, real_sr, denoise")
    parser.add_argument("--scale", type=whole, help="only this scale")
    parser.add_argument("--channels", type=whole, choices=(1, 3), help="only models for this many channels")
    parser.add_argument("--download", metavar="NAME", help="download a model's weights into the cache")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def _plugins(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "plugins",
        help="list plugins and their problems",
        description="List the installed plugins: model families, formats, hosts, observers of progress.\n"
        "A broken plugin is listed with the reason; everything else works without it.",
        epilog=_PLUGINS_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print as JSON")


def _hosts(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "hosts",
        help="list applications that use the operator",
        description="Ask each application known to a plugin if it is installed, lists the operator, and can load it.",
        epilog=_HOSTS_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", nargs="?", choices=("install",), help="register the operator in an application")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the application, for install")
    parser.add_argument("--timeout", type=number, default=30.0, metavar="S", help="seconds to wait (default: 30)")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def _evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="measure models on images",
        description="Measure models on a folder of images, by the protocol of the official scripts.",
        epilog=_EVALUATE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", metavar="M", action="append", help="a name from `models`, or a checkpoint; repeatable"
    )
    parser.add_argument(
        "--data", metavar="FOLDER", required=True, help="clean images, or HR and LR_bicubic/X2, or pairs"
    )
    parser.add_argument("--scale", type=whole, required=True, help="scale of the models; 1 for denoising and JPEG")
    parser.add_argument(
        "--degrade", metavar="HOW", help="bicubic, jpeg:10, noise:25, poisson:30, bicubic+jpeg:10, gray-..."
    )
    parser.add_argument("--inputs", metavar="FOLDER", help="inputs, named like the clean images")
    parser.add_argument("--no-truth", action="store_true", help="FOLDER holds inputs: only measure their fidelity")
    parser.add_argument("--gray", action="store_true", help="convert colour to gray first")
    parser.add_argument("--limit", metavar="N", type=whole, help="only the first N images")
    group = parser.add_argument_group("protocol")
    group.add_argument("--padding", choices=("official", "model"), default="official", help="default: official")
    group.add_argument(
        "--border", metavar="N", type=whole, help="pixels to leave out at each edge (default: the scale, or 0)"
    )
    group.add_argument("--data-range", metavar="LO,HI", help="values of black and white, for more than 8 bits")
    group.add_argument("--range", default="auto", metavar="R", help="as in `restore`: values that become 0 and 1")
    group.add_argument("--halo", default="exact", type=halo, help="exact (default), or pixels around a tile")
    group.add_argument("--tile", type=tile, help="input pixels per tile, N or ROWS,COLUMNS")
    group.add_argument("--ensemble", type=whole, metavar="8", help="average the results of all flips and rotations")
    group.add_argument("--consistent", metavar="HOW", help="of `restore`: mean, or mean,noise=N")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    group.add_argument("--precision", default="float32", help="float32 (default), float64, bfloat16")
    group.add_argument(
        "--engine", help="auto: native on a CPU with a C compiler, triton on a CUDA GPU, else torch; or openvino"
    )
    group = parser.add_argument_group("output")
    group.add_argument("--baseline", action="store_true", help="also bicubic enlargement, or the input at scale 1")
    group.add_argument(
        "--metrics", metavar="A,B", help="figures of the tables, such as psnr_y,ssim_y,si_psnr,frc,fidelity"
    )
    group.add_argument("--json", metavar="FILE", nargs="?", const="-", help="print JSON (- or no FILE), or write it")
    group.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    group.add_argument("--sheet", metavar="FILE", help="write a contact sheet of crops, a PNG")
    group.add_argument("--calibrate", metavar="FILE", help="fit intervals to the errors, for `restore --interval`")
    group.add_argument("--calibration", metavar="FILE", help="print how many pixels the intervals of FILE hold here")
    group.add_argument("--fidelity", metavar="FOLDER", help="write maps of the error of results degraded again")
    group.add_argument("--quiet", action="store_true", help="print no line per finished image")


def _train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "train",
        help="train or fine-tune a model",
        description=_TRAIN,
        epilog=_TRAIN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="a TOML file, or a built-in recipe's name")
    parser.add_argument("--data", metavar="FOLDER", help="images, TIFF stacks, Zarr; or the recipe's folders of them")
    parser.add_argument("--out", metavar="RUN", help="folder of the run: its state, log.csv, validation.png")
    parser.add_argument("--init", metavar="MODEL", help="start from the weights of a model")
    parser.add_argument(
        "--export", dest="export_to", metavar="FILE", help="write the finished model here, as .safetensors"
    )
    parser.add_argument("--validate", metavar="FOLDER", help="held-out images: PSNR and a picture at every save")
    parser.add_argument("--name", help="name of the model (default: the recipe's, or that of --init with -tuned)")
    parser.add_argument(
        "--recipe-of", dest="show", nargs="?", const="", metavar="NAME", help="print a built-in recipe, or their names"
    )
    group = parser.add_argument_group("replace values of the recipe")
    group.add_argument("--channels", type=whole, help="channels of the images; 1 makes a gray model from an RGB one")
    group.add_argument("--steps", type=whole, help="optimiser steps")
    group.add_argument("--batch", type=whole, help="patches per step")
    group.add_argument("--patch", type=whole, help="side of a patch, in input pixels")
    group.add_argument("--lr", type=number, help="learning rate")
    group.add_argument("--optimiser", metavar="{adam,muon}", help="muon: for the blocks' matrices (torch 2.9 or newer)")
    group.add_argument("--seed", type=whole, help="seed of weights, patches, degradations")
    group.add_argument(
        "--paired", action="store_true", default=None, help="FOLDER has inputs and targets: clean/ and noisy/, ..."
    )
    group.add_argument("--amp", action="store_true", default=None, help="use bfloat16 where it is safe, for GPUs")
    group = parser.add_argument_group("running")
    group.add_argument("--until", type=whole, metavar="STEP", help="stop at this step for now")
    group.add_argument("--save-every", type=whole, default=200, metavar="N", help="steps between saves (default: 200)")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    group.add_argument("--engine", default="auto", help="auto: native kernels on a CPU with a C compiler, else torch")
    group.add_argument("--threads", type=whole, help="CPU threads (default: torch's)")
    group.add_argument("--quiet", action="store_true", help="print no progress")


def _add_reading(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("reading")
    group.add_argument("--axes", help="one letter per dimension if SRC does not name them, such as TCZYX or YXS")
    group.add_argument("--level", type=whole, help="resolution level of a pyramid (default: 0, the full one)")
    group.add_argument(
        "--series", type=whole, help="image of a TIFF with several (default: the first; into a folder, each)"
    )
    group.add_argument("--array", help="array inside a Zarr group")


def _add_request(parser: argparse.ArgumentParser) -> None:
    _add_reading(parser)
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", default="auto", help="a name from `models`, a checkpoint, auto (default); for rasters also RGB,GRAY"
    )
    group.add_argument("--scale", type=whole, help="scale that the model must have")
    group.add_argument("--value-range", type=number, help="of a checkpoint that lacks it: 1 or 255")
    group.add_argument("--window", type=whole, help="of a checkpoint that lacks it: 8 or 7")
    group = parser.add_argument_group("values and cutting")
    group.add_argument(
        "--range",
        default="auto",
        metavar="R",
        help="auto, dtype, LO,HI, percentiles p1,p99.8, p1,p99.8:sample of a part, or like:OUTPUT of a finished run",
    )
    group.add_argument(
        "--halo", default="exact", type=halo, help="exact (default), or pixels around a tile, such as 16: faster"
    )
    group.add_argument("--tile", type=tile, help="input pixels per tile, N or ROWS,COLUMNS (default: what fits)")
    group.add_argument("--ensemble", type=whole, metavar="8", help="average the results of all flips and rotations")
    group.add_argument(
        "--consistent", metavar="HOW", help="mean: the new pixels of a pixel have its value as mean; or mean,noise=N"
    )
    group.add_argument("--nodata", type=float, help="stored value of invalid pixels (NaN is always invalid)")
    group.add_argument("--mask", help="an image that is not zero where SRC is valid; invalid tiles cost nothing")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    group.add_argument(
        "--precision", default="auto", help="float32, float64, bfloat16; auto: on CUDA bfloat16, else float32"
    )
    group.add_argument(
        "--engine", help="auto: native on a CPU with a C compiler, triton on a CUDA GPU, else torch; or openvino"
    )
