"""``swin2sr-ops export``."""

from __future__ import annotations

import argparse
import json

from swin2sr_ops.export.onnx import export_onnx

__all__ = ["main"]


def main(args: argparse.Namespace) -> int:
    """Write a model for another runtime."""
    report = export_onnx(args.model, args.output, tile=args.tile, overwrite=args.overwrite)
    print(json.dumps(report.to_dict()) if args.json else report)
    return 0
