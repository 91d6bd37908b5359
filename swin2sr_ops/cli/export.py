"""``swin2sr-ops export``."""

from __future__ import annotations

import argparse
import json

from swin2sr_ops.errors import RequestError

__all__ = ["main"]


def main(args: argparse.Namespace) -> int:
    """Write a model for another runtime, or as one file with its description."""
    hints = {"value_range": args.value_range, "window": args.window}
    given = {name: value for name, value in hints.items() if value is not None}
    if args.to == "safetensors":
        from swin2sr_ops.export.weights import export_safetensors

        if args.tile is not None:
            raise RequestError("--tile is for graphs, and a .safetensors file has none: leave it out.")
        saved = export_safetensors(args.model, args.output, overwrite=args.overwrite, **given)
        print(json.dumps(saved.to_dict()) if args.json else saved)
        return 0
    if args.to == "bioimageio":
        from swin2sr_ops.export.bioimageio import export_bioimageio as export
    else:
        from swin2sr_ops.export.onnx import export_onnx as export
    tile = 256 if args.tile is None else args.tile
    report = export(args.model, args.output, tile=tile, overwrite=args.overwrite, **given)
    print(json.dumps(report.to_dict()) if args.json else report)
    return 0
