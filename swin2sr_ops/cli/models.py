"""Run ``swin2sr-ops models``."""

from __future__ import annotations

import argparse
import json

from swin2sr_ops.hooks.models import list_models
from swin2sr_ops.spec import ModelSpec

__all__ = ["main"]


def main(args: argparse.Namespace) -> int:
    """List models, show one, or download its weights."""
    if args.download:
        return _download(args.download, args.json)
    if args.name:
        return _show(args.name, args.json)
    found = list_models(task=args.task, scale=args.scale, channels=args.channels)
    if args.json:
        print(json.dumps([spec.to_dict() for spec in found]))
        return 0
    print(f"{'name':<34}{'task':<15}{'scale':<7}{'channels':<10}{'licence':<12}weights")
    for spec in found:
        where = "with the package" if spec.weights.startswith("package:") else _megabytes(spec)
        print(f"{spec.name:<34}{spec.task:<15}x{spec.scale:<6}{_channels(spec):<10}{spec.licence:<12}{where}")
    if not found:
        print("No model has these properties: omit one of them.")
    return 0


def _channels(spec: ModelSpec) -> str:
    return str(spec.channels) if spec.planes == 1 else f"{spec.channels} of {spec.planes}"


def _megabytes(spec: ModelSpec) -> str:
    return f"download, {spec.size_bytes / 1e6:.0f} MB" if spec.size_bytes else "download"


def _show(name: str, as_json: bool) -> int:
    from swin2sr_ops.hooks.dispatch import resolve_model

    spec = resolve_model(name)
    if as_json:
        print(json.dumps(spec.to_dict()))
        return 0
    for key, value in spec.to_dict().items():
        if value not in ("", 0, {}, None):
            print(f"{key.replace('_', ' '):<16}{json.dumps(value) if isinstance(value, dict) else value}")
    return 0


def _download(name: str, as_json: bool) -> int:
    from swin2sr_ops.errors import ModelError
    from swin2sr_ops.hooks.dispatch import resolve_model
    from swin2sr_ops.weights.download import fetch, is_web_url

    spec = resolve_model(name)
    if not is_web_url(spec.weights):
        raise ModelError(f"{spec.name} needs no download: its weights are at {spec.weights}.")
    path = str(fetch(spec))
    print(json.dumps({"name": spec.name, "path": path}) if as_json else path)
    return 0
