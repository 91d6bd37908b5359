"""Which settings make an hour of training worth more? One change at a time, at equal CPU time.

    nice -n 10 python benchmarks/training_study.py --data ../shared/data --teacher FOLDER --out .training/study

Trains a network of the size of `nano-x2-gray` from its start as an interpolation, on every fourth photograph, every
sixth micrograph and every second aerial or satellite image (their inner 512 x 512 px), for so many steps of each
setting as `--minutes` of one core allow: the CPU time of a step is measured first, for all settings in turns. The
teacher, a colour network of scale 2, is converted to one channel. Killed, the same command resumes: `rows.csv` in
`--out` has a line for each half of each run, with the PSNR of the averaged weights on Set5's luma in 0..1, held-out
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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loss_study import decibels
from PIL import Image
from torch import Tensor

from swin2sr_ops.hooks.dispatch import build_network, resolve_model
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.training import data as data_module, train
from swin2sr_ops.training.degrade import bicubic_reduce
from swin2sr_ops.training.images import find_images, load_images
from swin2sr_ops.training.loop import Trainer
from swin2sr_ops.training.recipe import Recipe

COLUMNS = ("setting", "seed", "share", "step", "cpu_seconds", "Set5", "micrographs", "satellite")
SETS = COLUMNS[-3:]
COLOURS = dict(zip(SETS, ("#1f6fb4", "#d1571f", "#2f8f4e"), strict=True))
#: Folders of training images: share of the patches, and the step from one image that is used to the next.
FOLDERS = {"photo": (0.6, 4), "microscopy": (0.3, 6), "satellite": (0.1, 2)}
#: Held-out folders; `w2s_pairs` and the noisy field measure noise, not sharpness.
HELD_OUT = {
    "Set5": ["academic/Set5/HR"],
    "micrographs": [f"microscopy/{n}" for n in ("axon_sem", "bbbc013", "bbbc039", "cellprofiler", "em_vnc", "t98g")],
    "satellite": ["satellite"],
}
POINTS = 2
Cases = dict[str, list[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Setting:
    """Changes of the base recipe and of its model; a restart trains two cosines, each over half of the steps."""

    recipe: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    restart: bool = False
    continued: bool = False
    seeds: int = 1


FROM_SCRATCH = {
    "base": Setting(seeds=2),
    "teacher 0.5": Setting({"loss": {"l1": 1.0, "teacher": 0.5}}),
    "Muon": Setting({"optimiser": "muon"}),
    "teacher 1": Setting({"loss": {"l1": 1.0, "teacher": 1.0}}),
    "wider: 40 channels, 2 blocks": Setting(model={"dim": 40, "depths": [2]}),
    "patch 64": Setting({"patch": 64}),
    "batch 16": Setting({"batch": 16}),
    "deeper: 24 channels, 7 blocks": Setting(model={"dim": 24, "depths": [7]}),
    "teacher 0.5, detail 4 of it": Setting({"loss": {"l1": 1.0, "teacher": 0.5}, "detail": 4, "detail_of": "teacher"}),
    "patch 32": Setting({"patch": 32}),
    "no average (EMA)": Setting({"ema": 0.0}),
    "detail 2": Setting({"detail": 2}),
    "warm restart": Setting(restart=True),
    "batch 8": Setting({"batch": 8}),
    "detail 4": Setting({"detail": 4}),
}
#: The same changes of a run that continues the training of `START`, at a lower rate.
START, RATE = "nano-x2-gray", 5e-4
CONTINUED = ("base", "teacher 0.5", "teacher 1", "Muon")
#: The best of them, for longer runs, and changes of it.
MUON = {
    "Muon, base": Setting(seeds=2),
    "Muon, wider: 48 channels, 2 blocks": Setting(model={"dim": 48, "depths": [2]}),
    **{f"Muon, {name}": one for name, one in FROM_SCRATCH.items() if name not in ("base", "Muon")},
}
SETTINGS = (
    FROM_SCRATCH
    | {
        f"continued, {name}": replace(one, recipe={"lr": RATE} | one.recipe, continued=True)
        for name, one in FROM_SCRATCH.items()
        if name in CONTINUED
    }
    | {name: replace(one, recipe={"optimiser": "muon"} | one.recipe) for name, one in MUON.items()}
)


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
    if any(float(row["share"]) > 0.999 for row in mine):
        return
    start, spent = start_of(setting), float(mine[-1]["cpu_seconds"]) if mine else 0.0
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


def start_of(setting: Setting) -> SwinNet | None:
    """The network with which a setting starts, if it has been trained."""
    if not setting.continued:
        return None
    net = build_network(resolve_model(START))
    assert isinstance(net, SwinNet)
    return net


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


def groups(rows: list[dict[str, str]]) -> list[tuple[dict[tuple[str, str], dict[str, str]], str]]:
    """The last rows of finished runs, by group (from scratch, continued, with Muon); each with its base's name."""
    last = {(row["setting"], row["seed"]): row for row in rows if float(row["share"]) > 0.999}
    found = []
    for base in ("base", "continued, base", "Muon, base"):
        of = {key: row for key, row in last.items() if group_of(key[0]) == group_of(base)}
        if any(name == base for name, _ in of):
            found.append((of, base))
    return found


def group_of(name: str) -> str:
    """The group of a setting: the word before its comma, or none."""
    return next((word for word in ("continued, ", "Muon, ") if name.startswith(word)), "")


def gains(last: dict[tuple[str, str], dict[str, str]], base: str) -> dict[tuple[str, str], dict[str, float]]:
    """Gain of each run on each set over the mean of the base's seeds."""
    mean = {s: statistics.fmean(float(row[s]) for (name, _), row in last.items() if name == base) for s in SETS}
    return {key: {s: float(row[s]) - mean[s] for s in SETS} for key, row in last.items()}


def table(last: dict[tuple[str, str], dict[str, str]], base: str) -> str:
    """Markdown: the last row of each run, and its gain over the mean of the base's seeds."""
    lines = ["| setting | steps | CPU s | " + " | ".join(f"{s}, dB | gain" for s in SETS) + " |"]
    lines.append("|---" * (3 + 2 * len(SETS)) + "|")
    for (name, seed), gain in gains(last, base).items():
        row = last[name, seed]
        cells = [f"{float(row[s]):.3f} | {gain[s]:+.3f}" for s in SETS]
        shown = f"{name}, seed {seed}" if name == base else name
        lines.append(f"| {shown} | {row['step']} | {float(row['cpu_seconds']):.0f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def drawn(parts: list[tuple[dict[tuple[str, str], dict[str, str]], str]]) -> str:
    """An SVG: gain of each setting on the three sets; the gray band: how far the base's seeds are from their mean."""
    lines, top = [], 34
    for i, (s, colour) in enumerate(COLOURS.items()):
        lines.append(f'<text x="{230 + 120 * i}" y="22" fill="{colour}">{s}</text>')
    for last, base in parts:
        each = gains(last, base)
        noise = max(abs(g) for (name, _), gain in each.items() if name == base for g in gain.values())
        each = {key: gain for key, gain in each.items() if key[0] != base}
        lines += panel(each, noise, top)
        top += 24 * len(each) + 60
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="720" height="{top}" font-family="sans-serif" font-size="13">'
    )
    return "\n".join([head, f'<rect width="720" height="{top}" fill="white"/>', *lines, "</svg>"]) + "\n"


def panel(each: dict[tuple[str, str], dict[str, float]], noise: float, top: int) -> list[str]:
    """One group of settings, from ``top`` on, with a scale of its own."""
    values = [g for gain in each.values() for g in gain.values()]
    low, high = 1.05 * min([-noise, *values]), 1.05 * max([noise, *values])
    bottom = top + 24 * len(each) + 6

    def at(gain: float) -> float:
        return 230 + 460 * (gain - low) / (high - low)

    lines = [
        f'<rect x="{at(-noise):.1f}" y="{top}" width="{at(noise) - at(-noise):.1f}" height="{bottom - top}" '
        'fill="#e4e4e4"/>'
    ]
    step = next(
        s for s in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0) if (high - low) / s < 9
    )
    for i in range(int(np.ceil(low / step)), int(high / step) + 1):
        x = at(i * step)
        lines.append(f'<path d="M{x:.1f},{top}V{bottom}" stroke="{"#888" if i == 0 else "#ddd"}"/>')
        lines.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{i * step:+.3g}</text>')
    for i, ((name, _), gain) in enumerate(sorted(each.items(), key=lambda item: -sum(item[1].values()))):
        y = top + 18 + 24 * i
        lines.append(f'<text x="12" y="{y + 4}">{name}</text><path d="M230,{y}H690" stroke="#eee"/>')
        lines += [f'<circle cx="{at(g):.1f}" cy="{y}" r="5" fill="{COLOURS[s]}"/>' for s, g in gain.items()]
    return [*lines, f'<text x="12" y="{bottom + 18}">gain over the base, dB</text>']


def main() -> None:
    """Train with each setting, print a table, draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and eval/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--teacher", help="a colour model of scale 2; without it, settings with one wait")
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
    names = [name for name in names if teacher or "teacher" not in name]
    seconds = costs(list(dict.fromkeys(name.removeprefix("continued, ") for name in names)), args, teacher)
    for name in names:
        for seed in range(SETTINGS[name].seeds):
            run(name, seed, int(60 * args.minutes / seconds[name.removeprefix("continued, ")]), args, teacher, cases)
    parts = groups(read_rows(args.out))
    (args.out / "study.svg").write_text(drawn(parts), encoding="utf-8")
    for last, base in parts:
        print("\n" + table(last, base))


if __name__ == "__main__":
    main()
