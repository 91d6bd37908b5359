"""Describe the keywords of a request as options: names, defaults and help texts for command lines and forms.

`swin2sr_ops.request.RestoreRequest` has the same names and defaults (tested); this module imports nothing, because
``--help`` must load no array library.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["OPTIONS", "SIDES", "Option"]


@dataclass(frozen=True)
class Option:
    """A keyword of a request, as a command line or a form offers it.

    Attributes
    ----------
    name : str
        The keyword; a command line writes it behind ``--``.
    line : str
        Help for a command line: one line without a full stop. It calls the input SRC.
    form : str
        Help for a form, in sentences; empty if no form offers the option.
    default
        Value if the option is not given.
    kind : str
        How text becomes a value: ``whole``, ``number`` and ``text``; ``halo`` is a number or "exact", ``tile`` one or
        two numbers.
    metavar : str, optional
        Placeholder for the value in a command line; by default the name.
    """

    name: str
    line: str
    form: str = ""
    default: Any = None
    kind: Literal["text", "whole", "number", "halo", "tile"] = "text"
    metavar: str | None = None


def _table(options: Iterable[Option]) -> dict[str, Option]:
    return {option.name: option for option in options}


#: All options by keyword, in the order in which a command line lists them.
OPTIONS = _table(
    [
        Option("axes", "one letter per dimension if SRC does not name them, such as TCZYX or YXS"),
        Option("level", "resolution level of a pyramid (default: 0, the full one)", kind="whole"),
        Option("series", "image of a TIFF with several (default: the first)", kind="whole"),
        Option("array", "array inside a Zarr group"),
        Option(
            "model",
            "fast, good (default), best; a name from `models`, a checkpoint; for rasters also RGB,GRAY",
            '"fast", "good" (the same as "auto") or "best": a shipped model that fits the image\'s channels; or the'
            " name of a model (see `swin2sr-ops models`), or the path of a checkpoint.",
            default="auto",
        ),
        Option(
            "scale",
            "scale that the model must have",
            "Enlargement along Y and X that the model must have; leave it empty for the model's own.",
            kind="whole",
        ),
        Option(
            "range",
            "auto, dtype, LO,HI, percentiles p1,p99.8, p1,p99.8:sample of a part, or like:OUTPUT of a finished run",
            'Stored values that the network sees as 0 and 1: "auto", "dtype", two numbers such as "0,4095", or'
            ' percentiles such as "p1,p99.8". Values outside are kept.',
            default="auto",
            metavar="R",
        ),
        Option(
            "halo",
            "exact (default), or pixels around a tile, such as 16: faster",
            "Pixels seen around a tile, a multiple of the model's window: faster, with a small error. Leave it empty"
            " for a result that does not depend on tiles.",
            default="exact",
            kind="halo",
        ),
        Option(
            "tile",
            "input pixels per tile, N or ROWS,COLUMNS (default: what fits)",
            "Pixels along Y and X that are restored together; leave it empty for what fits the memory.",
            kind="tile",
        ),
        Option(
            "ensemble",
            "average the results of all flips and rotations",
            default=1,
            kind="whole",
            metavar="8",
        ),
        Option(
            "consistent",
            "mean: keep each pixel's value as the mean of its new pixels; psf=SIGMA, kernel=W/W/W or FILE:"
            " keep it after that blur; each with ,noise=N",
            'Bind the result to the input: "mean" keeps the value of each pixel as the mean of its new pixels;'
            ' "psf=SIGMA" keeps it after a blur of SIGMA input pixels. Leave it empty for no such rule.',
            metavar="HOW",
        ),
        Option(
            "along",
            "axis of neighbouring planes, Z or T, for a model that takes several (default: the model's own)",
            "Axis whose neighbouring planes a model of several planes takes, Z or T; leave it empty for the model's"
            " own.",
            metavar="AXIS",
        ),
        Option(
            "nodata",
            "stored value of invalid pixels (NaN is always invalid)",
            'Stored value that means "no pixel here".',
            kind="number",
        ),
        Option("mask", "an image that is not zero where SRC is valid; invalid tiles cost nothing"),
        Option(
            "device",
            "auto, cpu, cuda, cuda:1, mps",
            'Device that computes; "auto" takes a GPU if there is one.',
            default="auto",
        ),
        Option(
            "precision",
            "float32, float64, bfloat16; auto: on CUDA bfloat16, else float32",
            'Type of numbers to compute with; "auto" is bfloat16 on CUDA GPUs made for it, else float32.',
            default="auto",
        ),
        Option(
            "engine",
            "auto: native on a CPU with a C compiler, triton on a CUDA GPU, else torch; or openvino",
            'Implementation of the network: "auto" is native on a CPU with a C compiler, triton on a CUDA GPU, else'
            ' torch; or "openvino" where it is installed.',
            default="auto",
        ),
        Option("chunks", "side of a Zarr chunk in pixels (default: 512)", kind="whole", metavar="N"),
        Option("shards", "side of a Zarr shard, several chunks (default: none)", kind="whole", metavar="N"),
    ]
)

#: Options of the output that judge the result, which every way to write a file offers.
SIDES = _table(
    [
        Option(
            "interval",
            "write half widths that hold P % of the true values, in an OME-Zarr; with --calibration",
            "Percentage of true values that intervals hold, such as 90: an image of their half widths.",
            kind="number",
            metavar="P",
        ),
        Option(
            "calibration",
            "calibration of the model, from `swin2sr-ops evaluate --calibrate FILE`",
            "File of the model that `swin2sr-ops evaluate --calibrate` wrote; with an interval.",
            metavar="FILE",
        ),
        Option(
            "limit",
            "with --interval: flag pixels whose half width is above W stored units",
            "Flag pixels whose half width is above this number of stored units as not trusted.",
            kind="number",
            metavar="W",
        ),
        Option(
            "noise",
            "flag pixels whose mean is off from SRC by more than N stored units",
            "Flag pixels as not trusted whose mean is off from the input by more than this number.",
            kind="number",
            metavar="N",
        ),
    ]
)
