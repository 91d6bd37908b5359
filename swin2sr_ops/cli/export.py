"""``swin2sr-ops export``."""

from __future__ import annotations

import argparse
import json

from swin2sr_ops.cli.notes import say
from swin2sr_ops.cli.request import hints_of
from swin2sr_ops.errors import RequestError
from swin2sr_ops.weights.qualities import views_of

__all__ = ["main"]


def main(args: argparse.Namespace) -> int:
    """Write a model for another runtime, or as one file with its description."""
    given = hints_of(args)
    if args.to == "safetensors":
        from swin2sr_ops.export.weights import export_safetensors

        if args.tile is not None:
            raise RequestError("--tile is for graphs, and a .safetensors file has none: leave it out.")
        saved = export_safetensors(args.model, args.output, overwrite=args.overwrite, **given)
        print(json.dumps(saved.to_dict()) if args.json else saved)
        _tell_views(args.model, saved.model)
        return 0
    if args.to == "bioimageio":
        from swin2sr_ops.export.bioimageio import export_bioimageio as export
    else:
        from swin2sr_ops.export.onnx import export_onnx as export
    tile = 256 if args.tile is None else args.tile
    report = export(args.model, args.output, tile=tile, overwrite=args.overwrite, **given)
    print(json.dumps(report.to_dict()) if args.json else report)
    _tell_views(args.model, report.model)
    return 0


def _tell_views(asked: str, network: str) -> None:
    """Say that a file has one network where `restore` would average several views of it."""
    views = views_of(asked)
    if views > 1:
        say(
            f"swin2sr-ops: note: `restore --model {asked}` averages {views} views of {network!r}; the file has the"
            " network, which gives one view."
        )
