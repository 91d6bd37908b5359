"""Does the risk that `train --noisy` measures rank models as their true error does, and which method gains?

    nice -n 10 python benchmarks/noisy_risk.py --data ../shared/data --out .training/noisy_risk

Fine-tunes a shipped model on the first recordings of the sets of `noisy_study.py`, W2S and made, with each method,
learning rate and seed. The schedule is that of the recipe, so the learning rate is nearly constant. At some steps it
notes two differences from the initial model on the rows that the run holds out: the risk, which knows noisy pixels
only, and the mean scale-invariant PSNR against the truth (64 x 256 px of each frame); and which step the run would
export. Killed, the same command starts the run that was cut off anew; several may run at once, each with sets of its
own. Prints Markdown: the states, the gain of what is exported, and the rank correlation of the risk with the loss of
PSNR.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from noisy_study import INIT, Planes, read, write
from scipy.stats import spearmanr
from torch import nn

from swin2sr_ops.evaluate.microscopy import si_psnr
from swin2sr_ops.hooks.dispatch import build_network, resolve_model
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.training import train
from swin2sr_ops.training.noisy import NoisySampler

COLUMNS = ("set", "method", "lr", "seed", "step", "risk", "gain", "exported")
#: Rows and columns of the part of each frame whose PSNR is measured.
ROWS, WIDTH = 64, 256
Row = dict[str, Any]


def quality(net: nn.Module, sampler: NoisySampler, truths: Planes) -> float:
    """Mean scale-invariant PSNR on the middle of the held-out rows of the first recordings."""
    scores = []
    for source, truth in zip(sampler.held, truths, strict=True):
        held = source.planes[0, 0]
        rows, left = min(ROWS, len(held)), max(held.shape[1] - WIDTH, 0) // 2
        shown, true = (image[-rows:, left : left + WIDTH] for image in (held, truth))
        with torch.no_grad():
            found = net(torch.from_numpy(np.ascontiguousarray(shown))[None, None])
        scores.append(si_psnr(found[0, 0].numpy(), true))
    return statistics.fmean(scores)


class Study:
    """The runs on one set."""

    def __init__(self, args: argparse.Namespace, name: str) -> None:
        recordings, self.truths = read(args.data)[name]
        self.name, self.init, self.steps, self.out = name, args.init, args.steps, args.out
        self.first: float | None = None
        write(recordings[:, :1], self.out / name)

    def measure(self, how: str, rate: str, seed: str) -> None:
        """Train one run and note its states, but those that are known."""
        run = (self.name, how, rate, seed)
        known = {row["step"] for row in rows(self.out) if run_of(row) == run}
        if known.issuperset(self.steps):
            return
        options: dict[str, Any] = {"init": self.init, "noisy": how, "lr": float(rate), "seed": int(seed)}
        options |= {"data": self.out / self.name, "out": self.out / "-".join(run), "patience": 0}
        # A resume would need the same steps between two estimates of the risk.
        shutil.rmtree(options["out"], ignore_errors=True)
        trainer = train(until=0, log=lambda _: None, **options)
        assert isinstance(trainer.sampler, NoisySampler)
        if self.first is None:
            self.first = quality(build_network(resolve_model(self.init)).eval(), trainer.sampler, self.truths)
            print(f"{self.name}: {self.first:.2f} dB at first", flush=True)
        net = SwinNet(trainer.recipe.spec).eval()
        for step in self.steps:
            trainer.run(until=step, save_every=step, log=lambda _: None)
            if step in known:
                continue
            net.load_state_dict(trainer.average)
            gain = quality(net, trainer.sampler, self.truths) - self.first
            assert trainer.watch.seen is not None
            assert trainer.watch.first is not None
            risk = trainer.watch.seen - trainer.watch.first
            note(self.out, *run, step, f"{risk:.3e}", f"{gain:.4f}", trainer.watch.step)


def rows(out: Path) -> list[Row]:
    """All that was measured; what is compared is numbers."""
    with (out / "rows.csv").open(encoding="utf-8", newline="") as stream:
        numbers = {"step": int, "risk": float, "gain": float, "exported": int}
        return [row | {name: kind(row[name]) for name, kind in numbers.items()} for row in csv.DictReader(stream)]


def note(out: Path, *values: Any) -> None:
    """Add a row."""
    with (out / "rows.csv").open("a", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerow(values)
    print(*values, flush=True)


def show(found: list[Row]) -> None:
    """Print Markdown: states, what is exported, ranks."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in sorted(found, key=lambda row: int(row["seed"])):
        groups.setdefault((row["set"], row["method"], row["lr"], row["step"]), []).append(row)
    gains = {(run_of(row), row["step"]): row["gain"] for row in found}
    print("\n| set | method, learning rate | steps | gain of each seed, dB | risk, 1e-5 | gain of what is exported |")
    print("|---|---|---|---|---|---|")
    for (name, how, rate, step), group in sorted(groups.items()):
        risk = statistics.fmean(row["risk"] for row in group) * 1e5
        gain = " ".join(f"{row['gain']:+.2f}" for row in group)
        # Step 0 is the initial model.
        exported = " ".join(f"{gains.get((run_of(row), row['exported']), 0.0):+.2f}" for row in group)
        print(f"| {name} | `{how}`, {rate} | {step} | {gain} | {risk:+.1f} | {exported} |")
    for name in sorted({row["set"] for row in found}):
        states = [row for row in found if row["set"] == name]
        if len(states) > 2:
            rank = spearmanr([row["risk"] for row in states], [-row["gain"] for row in states]).statistic
            print(f"\n{name}: rank correlation of the risk with the loss of PSNR {rank:.2f}, {len(states)} states")


def run_of(row: Row) -> tuple[str, ...]:
    """What names a run: set, method, learning rate, seed."""
    return tuple(row[name] for name in COLUMNS[:4])


def main() -> None:
    """Measure what is missing in ``rows.csv``; print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with eval/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--sets", nargs="+", default=["W2S", "made"])
    parser.add_argument("--runs", nargs="+", default=["sure,1e-4", "blind,2e-4"], help="method and learning rate")
    parser.add_argument("--seeds", nargs="+", default=["1", "2", "3"])
    parser.add_argument("--steps", nargs="+", type=int, default=[20, 50, 100], help="where a state is noted")
    parser.add_argument("--init", default=INIT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    if not (args.out / "rows.csv").exists():
        (args.out / "rows.csv").write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    for name in args.sets:
        study = Study(args, name)
        for seed in args.seeds:
            for run in args.runs:
                study.measure(*run.split(","), seed)
    show(rows(args.out))
    print(f"\n{time.process_time() / 60:.1f} CPU minutes")


if __name__ == "__main__":
    main()
