"""Run ``swin2sr-ops train``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from swin2sr_ops.errors import OutputError, RequestError
from swin2sr_ops.training.recipe import RECIPES

__all__ = ["main"]


def main(args: argparse.Namespace) -> int:
    """Train or resume; or list or show the built-in recipes."""
    if args.show is not None:
        return _show(args.show)
    for option in ("data", "out"):
        if getattr(args, option) is None:
            raise RequestError(f"--{option} is missing: training needs --data FOLDER and --out RUN.")
    import torch

    from swin2sr_ops.training.api import train

    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        trainer = train(args.recipe, log=_quiet if args.quiet else _tell, **_options(args))
    except OSError as exc:  # a full disk, a folder without write permission
        raise OutputError(f"The run in {args.out!r} cannot continue: {exc}.") from exc
    if not args.quiet and trainer.team.leads:
        print(f"{trainer.step} steps done, in {args.out}" + (f"; model: {args.export_to}" if args.export_to else ""))
    return 0


def _options(args: argparse.Namespace) -> dict[str, Any]:
    names = (
        "data",
        "out",
        "init",
        "name",
        "licence",
        "teacher",
        "teacher_licence",
        "validate",
        "export_to",
        "device",
        "engine",
        "save_every",
        "until",
    )
    model = ("channels", "planes", "along")
    changes = ("steps", "batch", "patch", "lr", "optimiser", "seed", "paired", "amp", "noisy")
    return {name: getattr(args, name) for name in names + model + changes}  # None if not given


def _tell(line: str) -> None:
    print(line, flush=True)


def _quiet(line: str) -> None:
    """Discard a line of progress."""


def _show(name: str) -> int:
    names = sorted(p.stem for p in RECIPES.glob("*.toml"))
    if name == "":
        print("\n".join(names))
        return 0
    path = RECIPES / f"{Path(name).stem}.toml"
    if not path.exists():
        raise RequestError(f"There is no built-in recipe {name!r}, only {', '.join(names)}.")
    sys.stdout.write(path.read_text(encoding="utf-8"))
    return 0
