"""Which settings make an hour of training worth more? One change at a time, at equal CPU time.

    nice -n 10 python benchmarks/training_study.py --data ../shared/data --teacher FOLDER --out .training/study

Trains a network of the size of `nano-x2-gray` from its start as an interpolation, on every fourth photograph, every
sixth micrograph and every second aerial or satellite image (their inner 512 x 512 px), for so many steps of each
setting as `--minutes` of one core allow: the CPU time of a step is measured first, for all settings in turns. The
teacher, a colour network of scale 2, is converted to one channel. Killed, the same command resumes: `rows.csv` in
`--out` has a line for each quarter of each run, with the PSNR of the averaged weights on Set5's luma in 0..1, held-out
micrographs and held-out satellite images (inner 288 px at most, border of 2 px left out). Prints Markdown and writes
``study.svg``.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import re
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loss_study import decibels
from PIL import Image
from torch import Tensor

from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.training import data as data_module, train
from swin2sr_ops.training.degrade import bicubic_reduce
from swin2sr_ops.training.images import find_images, load_images
from swin2sr_ops.training.loop import Trainer
from swin2sr_ops.training.recipe import Recipe

COLUMNS = ("setting", "seed", "share", "step", "cpu_seconds", "Set5", "micrographs", "satellite")
SETS = COLUMNS[-3:]
#: Folders of training images: share of the patches, and the step from one image that is used to the next.
FOLDERS = {"photo": (0.6, 4), "microscopy": (0.3, 6), "satellite": (0.1, 2)}
#: Held-out folders; `w2s_pairs` and the noisy field measure noise, not sharpness.
HELD_OUT = {
    "Set5": ["academic/Set5/HR"],
    "micrographs": [f"microscopy/{n}" for n in ("axon_sem", "bbbc013", "bbbc039", "cellprofiler", "em_vnc", "t98g")],
    "satellite": ["satellite"],
}
POINTS = 4
Cases = dict[str, list[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Setting:
    """Changes of the base recipe and of its model; a restart trains two cosines, each over half of the steps."""

    recipe: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    restart: bool = False
    seeds: int = 1


SETTINGS = {
    "base": Setting(seeds=2),
    "teacher 0.5": Setting({"loss": {"l1": 1.0, "teacher": 0.5}}),
    "Muon": Setting({"optimiser": "muon"}),
    "teacher 1": Setting({"loss": {"l1": 1.0, "teacher": 1.0}}),
    "batch 16": Setting({"batch": 16}),
    "patch 64": Setting({"patch": 64}),
    "patch 32": Setting({"patch": 32}),
    "no average (EMA)": Setting({"ema": 0.0}),
    "wider: 40 channels, 2 blocks": Setting(model={"dim": 40, "depths": [2]}),
    "deeper: 24 channels, 7 blocks": Setting(model={"dim": 24, "depths": [7]}),
    "teacher 0.5, detail 4 of it": Setting({"loss": {"l1": 1.0, "teacher": 0.5}, "detail": 4, "detail_of": "teacher"}),
    "detail 2": Setting({"detail": 2}),
    "warm restart": Setting(restart=True),
    "batch 8": Setting({"batch": 8}),
    "detail 4": Setting({"detail": 4}),
}


def recipe(setting: Setting, seed: int, steps: int, teacher: dict[str, Any]) -> Recipe:
    """The base, with the setting's changes."""
    model = {
        "name": "study", "architecture": "swin2sr", "task": "classical_sr", "scale": 2, "channels": 1, "dim": 32,
        "depths": [4], "heads": [2], "window": 8, "upsampler": "pixelshuffledirect",
    }  # fmt: skip
    values: dict[str, Any] = {
        "folders": {name: share for name, (share, _) in FOLDERS.items()}, "steps": steps, "batch": 4, "patch": 48,
        "lr": 2e-3, "warmup": 50, "ema": 0.99, "contrast": 0.2, "seed": seed,
    }  # fmt: skip
    if "teacher" in setting.recipe.get("loss", {}):
        values["teacher"] = teacher
    return Recipe(model=model | setting.model, **(values | setting.recipe))


def inner(image: np.ndarray, side: int) -> np.ndarray:
    """The centre of ``(C, H, W)``, at most ``side`` pixels wide, of even size."""
    height, width = (min(n, side) // 2 * 2 for n in image.shape[1:])
    top, left = ((n - m) // 2 for n, m in zip(image.shape[1:], (height, width), strict=True))
    return image[:, top : top + height, left : left + width]


def prepare(data: Path, out: Path) -> None:
    """Write the training images as 8-bit pictures; done once."""
    for name, (_, every) in FOLDERS.items():
        folder, part = out / name, out / f"{name}.part"
        if folder.exists():
            continue
        part.mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(find_images(data / "train" / name)[::every]):
            for plane in load_images(path, 1)[:1]:
                pixels = (inner(plane, 512)[0].clip(0, 1) * 255).round().astype(np.uint8)
                Image.fromarray(pixels).save(part / f"{number:03d}.png")
        part.rename(folder)


def held_out(folder: Path) -> Cases:
    """(input, truth) of each set, ``(1, 1, H, W)``; inputs of 8 bits."""
    found: Cases = {}
    for name, parts in HELD_OUT.items():
        paths = [path for part in parts for path in find_images(folder / part)]
        truths = [torch.from_numpy(inner(load_images(path, 1)[0], 288).copy())[None] for path in paths]
        found[name] = [((bicubic_reduce(t, 2).clamp(0, 1) * 255).round() / 255, t) for t in truths]
    return found


@torch.inference_mode()
def measured(state: dict[str, Tensor], one: Recipe, cases: Cases) -> list[float]:
    """PSNR of each set, the mean of its images."""
    net = SwinNet(one.spec).eval()
    net.load_state_dict(state)
    return [statistics.fmean(decibels(net(x).clamp(0, 1) - t) for x, t in group) for group in cases.values()]


def costs(names: list[str], args: argparse.Namespace, teacher: dict[str, Any]) -> dict[str, float]:
    """CPU seconds per step of each setting, measured in turns; kept in ``costs.json``."""
    file = args.out / "costs.json"
    known: dict[str, float] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    missing = [name for name in names if name not in known]
    if not missing:
        return known
    trainers = {}
    for name in dict.fromkeys(["base", *missing]):  # later settings are measured relative to the base
        one = recipe(SETTINGS[name], 0, 10_000, teacher)
        trainers[name] = Trainer(one, args.out / "images", args.out / f"timed-{folder_of(name)}")
        if one.teacher:
            trainers[name].run(until=1, log=print)  # computes the teacher's outputs
    times: dict[str, list[float]] = {name: [] for name in trainers}
    for turn in range(4):
        for name, trainer in trainers.items():
            began = time.process_time()
            for _ in range(3):
                trainer._train_step()
            if turn:  # the first one warms up
                times[name].append((time.process_time() - began) / 3)
    found = {name: statistics.median(values) for name, values in times.items()}
    base = known.get("base", found["base"])
    known |= {name: found[name] / found["base"] * base for name in missing}
    file.write_text(json.dumps(known, indent=1), encoding="utf-8")
    return known


def run(name: str, seed: int, steps: int, args: argparse.Namespace, teacher: dict[str, Any], cases: Cases) -> None:
    """Train one setting, from where it stood, and append its rows."""
    setting, rows = SETTINGS[name], read_rows(args.out)
    mine = [row for row in rows if (row["setting"], int(row["seed"])) == (name, seed)]
    stages = 2 if setting.restart else 1
    if len(mine) >= POINTS - POINTS % stages:
        return
    start, trainer, spent = None, None, float(mine[-1]["cpu_seconds"]) if mine else 0.0
    for stage in range(stages):
        one = recipe(setting, seed + 10 * stage, steps // stages, teacher)
        folder = args.out / f"{folder_of(name)}-{seed}-{stage}"
        trainer = Trainer(one, args.out / "images", folder, start=start)
        for point in range(1, POINTS // stages + 1):
            until = one.steps * point // (POINTS // stages)
            before, began = trainer.step, time.process_time()
            if trainer.step < until:
                trainer.run(save_every=10**9, until=until, log=lambda _: None)
            spent += time.process_time() - began if trainer.step > before else 0.0
            share = (stage + point / (POINTS // stages)) / stages
            if trainer.step == until and not any(abs(float(row["share"]) - share) < 1e-6 for row in mine):
                figures = measured(trainer.averaged_state(), one, cases)
                append(args.out, [name, seed, f"{share:.3f}", stage * (steps // 2) + until, f"{spent:.1f}", *figures])
        start = SwinNet(one.spec)
        start.load_state_dict(trainer.averaged_state())


def folder_of(name: str) -> str:
    """The name of a setting as that of a folder."""
    return re.sub(r"\W+", "-", name)


def read_rows(out: Path) -> list[dict[str, str]]:
    """The rows of ``rows.csv``."""
    file = out / "rows.csv"
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["satellite"]]


def append(out: Path, row: list[Any]) -> None:
    """Append a row to ``rows.csv``, and show it."""
    file = out / "rows.csv"
    new = not file.exists()
    with file.open("a", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        if new:
            writer.writerow(COLUMNS)
        writer.writerow([f"{x:.4f}" if isinstance(x, float) else x for x in row])
    print(*row, flush=True)


def table(rows: list[dict[str, str]]) -> str:
    """Markdown: the last row of each run, and its gain over the mean of the base's seeds."""
    last = {(row["setting"], row["seed"]): row for row in rows if float(row["share"]) > 0.999}
    bases = [row for (name, _), row in last.items() if name == "base"]
    mean = {s: statistics.fmean(float(row[s]) for row in bases) for s in SETS}
    lines = ["| setting | steps | CPU s | " + " | ".join(f"{s}, dB | gain" for s in SETS) + " |"]
    lines.append("|---" * (3 + 2 * len(SETS)) + "|")
    for (name, seed), row in last.items():
        cells = [f"{float(row[s]):.3f} | {float(row[s]) - mean[s]:+.3f}" for s in SETS]
        shown = f"{name}, seed {seed}" if name == "base" else name
        lines.append(f"| {shown} | {row['step']} | {float(row['cpu_seconds']):.0f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def drawn(rows: list[dict[str, str]]) -> str:
    """An SVG: gain of each setting over the base on the three sets; the gray band is the base's spread of seeds."""
    last = {(row["setting"], row["seed"]): row for row in rows if float(row["share"]) > 0.999}
    names = list(dict.fromkeys(name for name, _ in last))
    bases = [row for (name, _), row in last.items() if name == "base"]
    mean = {s: statistics.fmean(float(row[s]) for row in bases) for s in SETS}
    spread = max(abs(float(row[s]) - mean[s]) for row in bases for s in SETS)
    gains = {n: {s: float(last[n, "0"][s]) - mean[s] for s in SETS} for n in names if n != "base"}
    low = min(-0.05, *(g for each in gains.values() for g in each.values()))
    high = max(0.05, *(g for each in gains.values() for g in each.values()))
    height = 60 + 24 * len(gains)

    def at(gain: float) -> float:
        return 230 + 460 * (gain - low) / (high - low)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="720" height="{height + 30}" font-family="sans-serif" '
        'font-size="13">',
        f'<rect width="720" height="{height + 30}" fill="white"/>',
        f'<rect x="{at(-spread):.1f}" y="34" width="{at(spread) - at(-spread):.1f}" height="{height - 34}" '
        'fill="#e4e4e4"/>',
    ]
    step = next(s for s in (0.05, 0.1, 0.2, 0.5, 1.0, 2.0) if (high - low) / s < 9)
    for i in range(int(np.ceil(low / step)), int(high / step) + 1):
        x = at(i * step)
        lines.append(f'<path d="M{x:.1f},34V{height}" stroke="{"#888" if i == 0 else "#ddd"}"/>')
        lines.append(f'<text x="{x:.1f}" y="{height + 18}" text-anchor="middle">{i * step:+.2g}</text>')
    colours = dict(zip(SETS, ("#1f6fb4", "#d1571f", "#2f8f4e"), strict=True))
    for i, (name, each) in enumerate(sorted(gains.items(), key=lambda item: -sum(item[1].values()))):
        y = 54 + 24 * i
        lines.append(f'<text x="12" y="{y + 4}">{name}</text><path d="M230,{y}H690" stroke="#eee"/>')
        lines += [f'<circle cx="{at(g):.1f}" cy="{y}" r="5" fill="{colours[s]}"/>' for s, g in each.items()]
    for i, (s, colour) in enumerate(colours.items()):
        lines.append(f'<text x="{230 + 120 * i}" y="22" fill="{colour}">{s}</text>')
    lines.append(f'<text x="12" y="{height + 18}">gain over the base, dB</text></svg>')
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train with each setting, print a table, draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and eval/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--teacher", type=Path, help="a colour model of scale 2; without it, settings with one wait")
    parser.add_argument("--teacher-licence", default="Apache-2.0")
    parser.add_argument("--minutes", type=float, default=1.5, help="CPU minutes of a run")
    parser.add_argument("--settings", help="names, separated by semicolons; all by default")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    prepare(args.data, args.out / "images")
    teacher = {}
    if args.teacher:
        gray = args.out / "teacher.safetensors"
        if not gray.exists():
            train(init=args.teacher, channels=1, licence=args.teacher_licence, data=args.out / "images",
                  out=args.out / "converted", until=0, export_to=gray)  # fmt: skip
        teacher = {"model": str(gray)}
    data_module.load_images = functools.cache(load_images)  # a run of some minutes should not decode them anew
    cases = held_out(args.data / "eval")
    names = args.settings.split(";") if args.settings else list(SETTINGS)
    names = [name for name in names if teacher or not name.startswith("teacher")]
    seconds = costs(names, args, teacher)
    for name in names:
        for seed in range(SETTINGS[name].seeds):
            run(name, seed, int(60 * args.minutes / seconds[name]), args, teacher, cases)
    rows = read_rows(args.out)
    (args.out / "study.svg").write_text(drawn(rows), encoding="utf-8")
    print("\n" + table(rows))


if __name__ == "__main__":
    main()
