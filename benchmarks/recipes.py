"""Begin every built-in recipe, and compare its first steps with the stated figures.

    python benchmarks/recipes.py [RECIPE ...] --data ../shared/data --check docs/recipes.md

Trains the first steps of each recipe on the images of the shipped models and prints a table: the model it begins
with, the mean loss of these steps, and the PSNR of held-out images afterwards, beside that of the bicubically
enlarged input. ``--check FILE`` compares with the table in FILE and exits with 1 where a loss differs by more than
1 %, or a PSNR by more than 0.02 dB. Without names all recipes begin, but one that needs other images, and one that
needs the outputs of a teacher.

A recipe that trains a model on begins with the shipped model of its name, which has had that training already.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from swin2sr_ops.training import train
from swin2sr_ops.weights.catalogue import shipped

RECIPES = files("swin2sr_ops.training").joinpath("recipes")
#: The first model, where it is not that of the recipe's name, as the recipe's first line says.
FIRST: dict[str, dict[str, Any]] = {
    "finetune": {"init": "tiny-x2-gray"},
    "finetune-noisy": {"init": "tiny-x2-gray"},
    "noisy": {"init": "small-x1-gray"},
    "small-x1-camera": {"init": "small-x1-gray"},
    "small-x1-gray": {"init": "tiny-x1-gray"},
    "small-x1-rgb": {"init": "tiny-x1-rgb"},
    "small-x2-gray": {"init": "small-x2-rgb", "channels": 1},
    "small-x2-rgb": {"init": "tiny-x2-rgb"},
    "small-x4-gray": {"init": "small-x2-gray"},
    "small-x4-rgb": {"init": "small-x2-rgb"},
    "tiny-x2-gray-from-rgb": {"init": "tiny-x2-rgb", "channels": 1},
    "tiny-x4-gray": {"init": "tiny-x4-rgb", "channels": 1},
    "tiny-x4-rgb": {"init": "tiny-x2-rgb"},
}
#: Recipes that begin only if they are named: one needs other images, one a quarter of an hour for a teacher's outputs.
NAMED_ONLY = {"nano-x1-sharpen", "small-x2-rgb-taught"}
NOISY_FRAME = "eval/microscopy/w2s_pairs/010_0_noisy.png"


@dataclass(frozen=True)
class Row:
    """A line of the table; a run on noisy images has no held-out ones."""

    recipe: str
    begins_with: str
    loss: float
    psnr: float | None = None
    input: float | None = None

    def __str__(self) -> str:
        measured = ["" if value is None else f"{value:.3f}" for value in (self.input, self.psnr)]
        return f"| `{self.recipe}` | {self.begins_with} | {self.loss:.5f} | {' | '.join(measured)} |"

    def agrees(self, other: Row) -> bool:
        """Return True if two machines may have computed these figures from the same recipe."""
        same = self.begins_with == other.begins_with and abs((self.psnr or 0) - (other.psnr or 0)) <= 0.02
        return same and abs(self.loss - other.loss) <= 0.01 * abs(other.loss)


def stated(page: Path) -> dict[str, Row]:
    """Read the table of a page, as this file prints it."""
    rows = re.findall(r"^\| `(\S+)` \| (.+?) \| (\S+) \| (\S*) \| (\S*) \|$", page.read_text(encoding="utf-8"), re.M)
    return {
        name: Row(name, model, float(loss), *(float(value) if value else None for value in (psnr, before)))
        for name, model, loss, before, psnr in rows
    }


def first_model(name: str) -> dict[str, Any]:
    """Return the options of `train` for the model with which a recipe begins; none if it is from scratch."""
    if name in FIRST:
        return FIRST[name]
    if "model" in tomllib.loads(RECIPES.joinpath(f"{name}.toml").read_text(encoding="utf-8")):
        return {}
    return {"init": max((spec.name for spec in shipped() if name.startswith(spec.name)), key=len)}


def begin(name: str, data: Path, steps: int) -> Row:
    """Train the first steps of a recipe."""
    first, noisy = first_model(name), name == "noisy"
    with tempfile.TemporaryDirectory() as run:
        trainer = train(
            name,
            data=data / (NOISY_FRAME if noisy else "train"),
            validate=None if noisy else data / "eval" / "academic" / "Set5" / "HR",
            out=run,
            until=steps,
            save_every=steps,
            log=lambda line: None,
            **first,
        )
        with (Path(run) / "log.csv").open(encoding="utf-8") as file:
            last = list(csv.DictReader(file))[-1]
    begins_with = f"`{first['init']}`" if first else "from scratch"
    if trainer.validation is None:
        return Row(name, begins_with, float(last["loss"]))
    return Row(name, begins_with, float(last["loss"]), float(last["psnr"]), trainer.validation.baseline)


def main() -> None:
    """Begin the recipes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--check", type=Path, metavar="FILE")
    args = parser.parse_args()
    every = sorted(Path(one.name).stem for one in RECIPES.iterdir() if one.name.endswith(".toml"))
    wanted = stated(args.check) if args.check else {}
    others = []
    print("| recipe | begins with | mean loss | input, dB | after these steps, dB |\n|---|---|---|---|---|")
    for name in args.recipes or [name for name in every if name not in NAMED_ONLY]:
        row = begin(name, args.data, args.steps)
        print(row, flush=True)
        if args.check and not (name in wanted and row.agrees(wanted[name])):
            others.append(name)
    if others:
        sys.exit(f"{args.check} states other figures, or none, of: {', '.join(others)}.")


if __name__ == "__main__":
    main()
