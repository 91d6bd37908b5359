"""Measure all shipped models on all sets by the official protocol, for README and docs/models.md.

    python benchmarks/models.py --data ../shared/data/eval --released ../shared/weights/swin2sr-lightweight-x2-64

Prints Markdown, a line for each model and set: the figure of the input (bicubic enlargement at x2), the model's, the
gain, and that of ``--released`` where it fits. Set5 and the like: PSNR and SSIM of Y, border of 2 px. Noise and JPEG:
PSNR and SSIM of all channels, made as the official scripts make them. Microscopy: PSNR in the range of each truth.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import swin2sr_ops
from swin2sr_ops.errors import Swin2SROpsError
from swin2sr_ops.evaluate import evaluate
from swin2sr_ops.hooks.dispatch import resolve_model


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    model: str
    data: str
    degrade: str | None = None
    figure: str = "psnr"


def rows(root: Path) -> list[Row]:
    """The sets that fit each shipped model."""
    found = []
    for spec in swin2sr_ops.list_models():
        if not spec.weights.startswith("package:"):
            continue
        gray = spec.channels == 1
        if spec.scale == 1:
            jpeg, noise = (
                ("academic/classic5", "academic/Set12") if gray else ("academic/McMaster", "academic/McMaster")
            )
            found += [Row(spec.name, jpeg, f"jpeg:{q}") for q in (10, 20, 30, 40, 60, 80)]
            found += [Row(spec.name, noise, f"noise:{s}") for s in (15, 25, 50)]
            continue
        academic = ["academic/Set12", "academic/classic5"] if gray else ["academic/Set5", "academic/Set14"]
        found += [Row(spec.name, name, None, "psnr_y") for name in academic]
        found += [Row(spec.name, str(p.relative_to(root)), "bicubic") for p in fields(root, gray)]
    return found


def fields(root: Path, gray: bool) -> list[Path]:
    """Folders of microscopy and satellite images; pairs are for other models."""
    folders = [p for p in sorted((root / "microscopy").iterdir()) if p.is_dir() and p.name != "w2s_pairs"]
    colour = {"histology"}
    chosen = [p for p in folders if (p.name in colour) != gray]
    return chosen if gray else [*chosen, root / "satellite"]


def main() -> None:
    """Measure all models on all sets, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--released", help="a checkpoint to measure beside them, where scale and channels allow")
    parser.add_argument("--models", help="only these, separated by commas")
    parser.add_argument("--engine", default="auto")
    args = parser.parse_args()
    print("| model | images | n | input made by | input | model | gain, dB | released |")
    print("|---" * 8 + "|")
    for row in rows(args.data):
        if args.models is None or row.model in args.models.split(","):
            print(line(row, args), flush=True)


def line(row: Row, args: argparse.Namespace) -> str:
    """Measure one model on one set; return the row of the table."""
    spec = next(m for m in swin2sr_ops.list_models() if m.name == row.model)
    models = [row.model]
    if args.released and spec.scale == resolve_model(args.released).scale:
        models.append(args.released)
    how = row.degrade or "bicubic"
    try:
        found = evaluate(
            models, args.data / row.data, scale=spec.scale, degrade=row.degrade, baseline=True, engine=args.engine
        )
    except Swin2SROpsError as exc:
        return f"| {row.model} | {row.data} | | {how} | {exc} | | | |"
    assert found.baseline is not None
    ssim = row.figure.replace("psnr", "ssim")
    figures = [f"{s.mean[row.figure]:.2f} / {s.mean[ssim]:.4f}" for s in (found.baseline, *found.models)]
    gain = found.models[0].mean[row.figure] - found.baseline.mean[row.figure]
    released = figures[2] if len(figures) > 2 else ""
    cells = (row.model, row.data, str(len(found.models[0].images)), how, *figures[:2], f"{gain:+.2f}", released)
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
