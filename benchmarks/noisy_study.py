"""Training on noisy images alone, ours and CAREamics' Noise2Void, at equal CPU time.

    nice -n 10 python benchmarks/noisy_study.py --data ../shared/data --out .training/noisy --minutes 5

Needs `careamics` (0.3.5 was measured) in the same environment; without it only our rows are made. Two sets:

- *W2S*: the nine noisy frames of `eval/microscopy/w2s_pairs` (three fields, three channels), each shown once; the
  truth is the average of 400 frames;
- *made*: the truths of these pairs with noise of a camera: 20 photons at the brightest pixel, offset included, and read
  noise of 1.5 electrons; four recordings of each. Only `repeats` and Noise2Noise use more than the first one.

Every method trains one model on the noisy images of a set, for `--minutes` of CPU time of one process, and restores the
first recordings: mean scale-invariant PSNR. Ours start from a shipped model, with steps as many as the time allows
after the cost of one was measured; CAREamics starts from random weights, as it does by default, and stops by the clock.
Killed, the same command resumes with the next method. Prints Markdown.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

import swin2sr_ops
from swin2sr_ops.evaluate.microscopy import si_psnr
from swin2sr_ops.training import train

Planes = NDArray[np.float32]
COLUMNS = ("set", "method", "cpu_minutes", "steps", "si_psnr")
PHOTONS, READ, REPEATS = 20.0, 1.5, 4
INIT = "small-x1-camera"
#: Set and method of each run, in their order.
RUNS = (
    ("W2S", "CAREamics n2v"),
    ("W2S", "--noisy blind"),
    ("made", "CAREamics n2v"),
    ("made", "--noisy blind"),
    ("made", "--noisy repeats"),
    ("made", "CAREamics n2n"),
    ("made", "--noisy auto"),
    ("W2S", "--noisy auto"),
)


def read(data: Path) -> dict[str, tuple[Planes, Planes]]:
    """The sets: recordings ``(place, repeat, H, W)`` and truths ``(place, H, W)``, in numbers of 8 bits."""
    folder = data / "eval/microscopy/w2s_pairs"
    truths, noisy = (
        np.stack([np.asarray(Image.open(p), np.float32) for p in sorted(folder.glob(f"*_{kind}.png"))])
        for kind in ("gt", "noisy")
    )
    rng = np.random.default_rng(5)
    light = truths[:, None] / 255 * PHOTONS + 1
    counts = rng.poisson(np.broadcast_to(light, (len(truths), REPEATS, *truths.shape[1:])))
    made = counts + READ * rng.standard_normal(counts.shape)
    stored = (made / (PHOTONS + 1) * 200 + 30).round().clip(0, 255).astype(np.float32)
    return {"W2S": (noisy[:, None], truths), "made": (stored, truths)}


def write(recordings: Planes, folder: Path) -> None:
    """One TIFF stack per place, in 8 bits, so that the mapping is the same in training and in restoration."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, stack in enumerate(recordings):
        tifffile.imwrite(folder / f"{i}.tif", stack.astype(np.uint8), metadata={"axes": "TYX"})


def score(restore: Callable[[Planes], Planes], recordings: Planes, truths: Planes) -> float:
    """Mean scale-invariant PSNR of the first recordings."""
    return statistics.fmean(si_psnr(restore(r[0]), t) for r, t in zip(recordings, truths, strict=True))


def restored_by(model: str) -> Callable[[Planes], Planes]:
    """Our restoration with a model."""
    return lambda x: swin2sr_ops.restore(x / 255, model=model, axes="YX", range=(0, 1)).compute()


def ours(how: str, recordings: Planes, out: Path, minutes: float) -> tuple[int, Callable[[Planes], Planes]]:
    """Train with ``--noisy how``; its first steps tell how many there can be."""
    folder, model = out / "images", out / "model.safetensors"
    write(recordings if how == "repeats" else recordings[:, :1], folder)
    options: dict[str, Any] = {"init": INIT, "noisy": how, "data": folder, "patience": 0, "warmup": 20}
    began = time.process_time()
    train(out=out / "timed", steps=12, until=2, save_every=100, log=lambda _: None, **options)
    began = time.process_time()
    train(out=out / "timed", steps=12, save_every=100, log=lambda _: None, **options)
    cost = (time.process_time() - began) / 10  # with loading and a risk estimate, which a run has, too
    steps = max(30, int(60 * minutes / cost))
    train(out=out / "run", steps=steps, save_every=max(20, steps // 6), export_to=model, log=print, **options)
    return steps, restored_by(str(model))


def theirs(how: str, recordings: Planes, out: Path, minutes: float) -> tuple[int, Callable[[Planes], Planes]]:
    """Train with CAREamics: batches of 16 patches of 64 px, else its defaults."""
    from careamics import CAREamist
    from careamics.config import create_n2n_config, create_n2v_config
    from lightning.pytorch.callbacks import Callback

    class Clock(Callback):
        """Stop after so much CPU time."""

        def on_train_start(self, trainer: Any, *_: Any) -> None:
            self.until, self.steps = time.process_time() + 60 * minutes, 0

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            self.steps += 1
            trainer.should_stop = time.process_time() > self.until

    common = {"data_type": "array", "axes": "SYX", "patch_size": [64, 64], "batch_size": 16, "num_epochs": 1000}
    clock = Clock()
    if how == "n2v":
        config = create_n2v_config(experiment_name="n2v", **common)
        given, target = recordings[:, 0], None
    else:
        config = create_n2n_config(experiment_name="n2n", **common)
        pairs = [(i, j) for i in range(REPEATS) for j in range(REPEATS) if i != j]
        given = np.concatenate([recordings[:, i] for i, _ in pairs])
        target = np.concatenate([recordings[:, j] for _, j in pairs])
    careamist = CAREamist(config, work_dir=out, callbacks=[clock], enable_progress_bar=False)
    careamist.train(train_data=given, train_data_target=target)

    def restore(x: Planes) -> Planes:
        found, _ = careamist.predict(x[None], tile_size=(256, 256))
        return np.asarray(found[0]).reshape(x.shape)

    return clock.steps, restore


def main() -> None:
    """Measure what is missing in ``rows.csv``; print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with eval/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--minutes", type=float, default=5.0, help="CPU minutes of a run")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "rows.csv"
    if not file.exists():
        file.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")

    def rows() -> list[dict[str, str]]:
        with file.open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))

    def note(group: str, method: str, *values: Any) -> None:
        with file.open("a", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerow([group, method, *values])
        print(group, method, *values, flush=True)

    sets = read(args.data)
    for group, (recordings, truths) in sets.items():
        known = {row["method"] for row in rows() if row["set"] == group}
        for method, restore in (("noisy", lambda x: x), (INIT, restored_by(INIT))):
            if method not in known:
                note(group, method, "", "", f"{score(restore, recordings, truths):.3f}")
    for group, method in RUNS:
        done = any((row["set"], row["method"]) == (group, method) for row in rows())
        whose, how = method.split()
        if done or (whose == "CAREamics" and importlib.util.find_spec("careamics") is None):
            continue
        recordings, truths = sets[group]
        folder = args.out / f"{group}-{whose}-{how}"
        began = time.process_time()
        steps, restore = (theirs if whose == "CAREamics" else ours)(how, recordings, folder, args.minutes)
        spent = (time.process_time() - began) / 60
        note(group, method, f"{spent:.1f}", steps, f"{score(restore, recordings, truths):.3f}")
    print("\n| set | method | CPU min, with start | steps | scale-invariant PSNR, dB |\n|---|---|---|---|---|")
    for row in sorted(rows(), key=lambda row: list(sets).index(row["set"])):
        print("| " + " | ".join(row.values()) + " |")


if __name__ == "__main__":
    main()
