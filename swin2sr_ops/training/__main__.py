"""``python -m swin2sr_ops.training``: train, go on, export."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from swin2sr_ops.errors import RequestError, Swin2SROpsError
from swin2sr_ops.training.recipe import Recipe


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m swin2sr_ops.training",
        description="Train a restoration model on a folder of clean images. Run the same command again to go on.",
        epilog="example: python -m swin2sr_ops.training tiny-x2-gray --data images/ --out runs/gray "
        "--export gray.safetensors",
    )
    parser.add_argument("recipe", help="a TOML file, or the name of a built-in recipe")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the recipe's image folders")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run: state and log")
    parser.add_argument("--steps", type=int, help="train so many steps instead of the recipe's")
    parser.add_argument("--until", type=int, help="stop at this step for now; the schedule stays that of --steps")
    parser.add_argument("--save-every", type=int, default=200, help="steps between two saves (default: 200)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps (default: cpu)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    parser.add_argument("--export", type=Path, help="write the model here as float16 .safetensors when done")
    return parser


def export(trainer: Any, recipe: Recipe, path: Path) -> None:
    """Write the averaged weights with the recipe as provenance."""
    import torch

    from swin2sr_ops.weights.save import save_model

    provenance = {
        "recipe": recipe.to_dict(),
        "steps_done": trainer.step,
        "images": len(trainer.sampler),
        "torch": torch.__version__,
        "loss": "L1",
    }
    spec = replace(recipe.spec, provenance=recipe.spec.provenance | provenance)
    save_model(path, trainer.averaged_state(), spec, dtype=torch.float16)


def _check_export(path: Path | None) -> None:
    """Refuse before the training what would fail after it."""
    if path is None:
        return
    if path.suffix != ".safetensors":
        raise RequestError(f"--export {str(path)!r} must end with .safetensors, by which a model is known.")
    if not path.parent.is_dir():
        raise RequestError(f"The folder {str(path.parent)!r} of --export does not exist: create it first.")


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    try:
        recipe = Recipe.read(args.recipe, steps=args.steps)
        if not args.data.is_dir():
            raise RequestError(f"There is no folder {str(args.data)!r} to take training images from.")
        import torch

        from swin2sr_ops.training.loop import Trainer

        _check_export(args.export)
        if args.threads:
            torch.set_num_threads(args.threads)
        trainer = Trainer(recipe, args.data, args.out, args.device)
        trainer.run(save_every=args.save_every, until=args.until)
        if args.export:
            export(trainer, recipe, args.export)
    except (Swin2SROpsError, OSError) as exc:  # OSError: a full disk, a folder that may not be written
        print(f"error: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped: the same command goes on from the last save", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
