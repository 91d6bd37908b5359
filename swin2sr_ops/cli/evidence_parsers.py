"""Define commands that show if a restoration can be trusted, with their help texts. Only argparse is loaded."""

from __future__ import annotations

import argparse

from swin2sr_ops.cli.arguments import whole
from swin2sr_ops.cli.options import add_options, add_reading

__all__ = ["add_advise", "add_audit"]

_AUDIT = """\
Recompute random tiles of OUT by the settings in its provenance, and compare them bit for bit with OUT.
Report how much of OUT can be wrong at most, and name tiles that differ.
"""

_AUDIT_EPILOG = """\
examples:
  swin2sr-ops audit cells_x2.ome.zarr                    300 tiles: if all are right, less than 1 % is wrong
  swin2sr-ops audit s3://lab/plate_x2.ome.zarr --sample 60 --source plate.ome.zarr
  swin2sr-ops audit scene_x2.tif --all                   every tile and every level
  swin2sr-ops audit cells_x2.ome.zarr --seed 7 --json    the same tiles again, for a program

exit status:
  0 all recomputed tiles are right; 1 some are wrong, or images are missing; 2 the request is not valid
"""


_ADVISE = """\
Measure noise, JPEG blocks, sharpness, range and saturation on samples of SRC, and name the model that fits,
with the reason and what the model was trained on. If none fits, say so.
"""

_ADVISE_EPILOG = """\
examples:
  swin2sr-ops advise cells.tif                           a model, and why
  swin2sr-ops advise plate.ome.zarr --array A/1/0        one image of a plate
  swin2sr-ops advise scene.tif --json                    all figures, for a program

exit status:
  0 a model fits; 1 none does; 2 the image cannot be read
"""


def add_advise(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``swin2sr-ops advise``."""
    parser = commands.add_parser(
        "advise",
        help="recommend a model for an image, with reasons",
        description=_ADVISE,
        epilog=_ADVISE_EPILOG,
    )
    parser.add_argument("src", metavar="SRC", help="an image that could be restored")
    add_reading(parser)
    add_options(parser, "nodata")
    parser.add_argument("--seed", type=whole, default=0, metavar="K", help="choose other samples (default: 0)")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def add_audit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``swin2sr-ops audit``."""
    parser = commands.add_parser(
        "audit",
        help="prove that an output is right",
        description=_AUDIT,
        epilog=_AUDIT_EPILOG,
    )
    parser.add_argument("out", metavar="OUT", help="a finished output: OME-Zarr, plate, COG, OME-TIFF, PNG, or a URL")
    parser.add_argument("--source", metavar="SRC", help="where the input is now (default: where the run found it)")
    parser.add_argument("--mask", help="where the mask of the run is now")
    parser.add_argument("--model", metavar="FILE", help="weights of the run, if the model is not known by name")
    parser.add_argument("--sample", metavar="N", type=whole, help="tiles to recompute (default: 300)")
    parser.add_argument("--all", action="store_true", help="recompute every tile")
    parser.add_argument("--seed", metavar="K", type=whole, help="draw the same tiles again")
    group = parser.add_argument_group("computing (default: as in the run, if possible here)")
    group.add_argument("--device", help="cpu, cuda, cuda:1, mps; another one than the run's: within a stated bound")
    group.add_argument("--precision", help="float32, float64, bfloat16")
    group.add_argument("--engine", help="auto, torch, native, openvino, triton")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
