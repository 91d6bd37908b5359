"""Define the commands about models: list, measure, train and export them. Only argparse is loaded."""

from __future__ import annotations

import argparse

from swin2sr_ops.cli.arguments import number, whole
from swin2sr_ops.cli.options import add_hints, add_options

__all__ = ["add_evaluate", "add_export", "add_models", "add_train"]

_MODELS_EPILOG = """\
examples:
  swin2sr-ops models                                     all known models
  swin2sr-ops models --scale 4 --channels 1
  swin2sr-ops models tiny-x2-gray                        details of one
  swin2sr-ops models --download swin2sr-classical-x2
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
  swin2sr-ops train --noisy --data fields/ --out run/ --export mine.safetensors     noisy images alone
  swin2sr-ops train nano-x2-gray --teacher small-x2-gray --data images/ --out run/
  swin2sr-ops train --recipe-of tiny-x2-gray            print a recipe to start from
  torchrun --nproc-per-node 4 --no-python swin2sr-ops train my.toml --data images/ --out runs/mine

The first command is all that fine-tuning needs: a folder with some dozen fields as TIFF, PNG or Zarr.
"""

_EXPORT = """\
Write a model for another runtime: an ONNX graph of one fixed tile. Its metadata say the halo to crop,
the scale, and the grid on which tiles start; docs/export.md has a script that tiles an image around it.
A bioimage.io package (a .zip) holds the same graph for deepImageJ, ilastik, QuPath and bioimageio.core.
As .safetensors, a checkpoint of any kind (.pth, a Hugging Face folder) needs no torch any more on a CPU.
"""

_EXPORT_EPILOG = """\
examples:
  swin2sr-ops export tiny-x2-gray --to onnx --output tiny.onnx
  swin2sr-ops export tiny-x2-gray --to bioimageio --output tiny.zip
  swin2sr-ops export mine.safetensors --to onnx --output mine.onnx --tile 512
  swin2sr-ops export swinir.pth --to safetensors --output swinir.safetensors
"""


def add_models(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``swin2sr-ops models``."""
    parser = commands.add_parser(
        "models",
        help="list models, or fetch one",
        description="List all models with a name: those that come with the package,\nand all released ones.",
        epilog=_MODELS_EPILOG,
    )
    parser.add_argument("name", nargs="?", help="show everything about one model")
    parser.add_argument("--task", help="only this task, such as classical_sr, real_sr, denoise")
    parser.add_argument("--scale", type=whole, help="only this scale")
    parser.add_argument("--channels", type=whole, choices=(1, 3), help="only models for this many channels")
    parser.add_argument("--download", metavar="NAME", help="download a model's weights into the cache")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``swin2sr-ops evaluate``."""
    parser = commands.add_parser(
        "evaluate",
        help="measure models on images",
        description="Measure models on a folder of images, by the protocol of the official scripts.",
        epilog=_EVALUATE_EPILOG,
    )
    parser.add_argument(
        "--model",
        metavar="M",
        action="append",
        help="fast, good, best, a name from `models`, or a checkpoint; repeatable",
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
    add_options(group, "range", "halo", "tile", "ensemble", "consistent", "device")
    add_options(group, "precision", default="float32", help="float32 (default), float64, bfloat16")
    add_options(group, "engine")
    group = parser.add_argument_group("output")
    group.add_argument("--baseline", action="store_true", help="also bicubic enlargement, or the input at scale 1")
    group.add_argument(
        "--metrics", metavar="A,B", help="figures of the tables, such as psnr_y,ssim_y,si_psnr,frc,fidelity"
    )
    group.add_argument("--json", metavar="FILE", nargs="?", const="-", help="print JSON (- or no FILE), or write it")
    group.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    group.add_argument("--sheet", metavar="FILE", help="write a contact sheet of crops, a PNG")
    group.add_argument("--calibrate", metavar="FILE", help="fit intervals to the errors, for `restore --interval`")
    group.add_argument(
        "--fit-truth", action="store_true", help="bring truths to their inputs' unit: for pairs that were scaled apart"
    )
    group.add_argument(
        "--group", metavar="REGEX", help="images whose names begin alike are left out together, such as '[0-9]+'"
    )
    group.add_argument("--calibration", metavar="FILE", help="print how many pixels the intervals of FILE hold here")
    group.add_argument("--fidelity", metavar="FOLDER", help="write maps of the error of results degraded again")
    group.add_argument("--quiet", action="store_true", help="print no line per finished image")


def add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``swin2sr-ops train``."""
    parser = commands.add_parser(
        "train",
        help="train or fine-tune a model",
        description=_TRAIN,
        epilog=_TRAIN_EPILOG,
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
        "--noisy", nargs="?", const="auto", metavar="HOW",
        help="learn from noisy images alone: auto (default: sure where the noise can be measured, else blind), blind,"
        " sure, repeats, neighbours; --data may be one image",
    )  # fmt: skip
    parser.add_argument("--licence", help="licence of the model (default: the recipe's, or that of --init)")
    parser.add_argument("--teacher", metavar="MODEL", help="learn from the outputs of a larger model, too")
    parser.add_argument("--teacher-licence", metavar="NAME", help="licence of the teacher, if its file states none")
    parser.add_argument(
        "--recipe-of", dest="show", nargs="?", const="", metavar="NAME", help="print a built-in recipe, or their names"
    )
    group = parser.add_argument_group("replace values of the recipe")
    group.add_argument("--channels", type=whole, help="channels of the images; 1 makes a gray model from an RGB one")
    group.add_argument("--planes", type=whole, help="planes of a stack that enter for one: 3, 5, ... (default: 1)")
    group.add_argument("--along", metavar="AXIS", help="axis of these planes, Z or T")
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
    add_options(group, "device")
    add_options(group, "engine", help="auto: native kernels on a CPU with a C compiler, else torch")
    group.add_argument("--threads", type=whole, help="CPU threads (default: torch's)")
    group.add_argument("--quiet", action="store_true", help="print no progress")


def add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``swin2sr-ops export``."""
    parser = commands.add_parser(
        "export",
        help="write a model for another runtime",
        description=_EXPORT,
        epilog=_EXPORT_EPILOG,
    )
    parser.add_argument("model", metavar="MODEL", help="a name from `models`, or a checkpoint")
    parser.add_argument("--to", choices=("onnx", "bioimageio", "safetensors"), required=True, help="the format")
    parser.add_argument("--output", metavar="FILE", required=True, help="the file to write")
    parser.add_argument("--tile", metavar="N", type=whole, help="side of a graph's input in pixels (default: 256)")
    add_hints(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    parser.add_argument("--json", action="store_true", help="print facts about FILE as JSON")
