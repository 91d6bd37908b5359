"""Train one recipe after the other, for as long as the machine is on; resume after a kill.

    nice -n 19 python benchmarks/train_queue.py queue.toml --data ../shared/data/train --eval ../shared/data/eval

``queue.toml`` lists runs in their order:

    [[run]]
    name = "small-x1-camera"              # of the model, and of the run's folder
    recipe = "small-x1-camera"            # a TOML file or a built-in recipe; may be left out with init
    init = "small-x1-gray"                # optional
    steps = 2000                          # optional: the recipe's
    milestones = [500, 1000]              # optional; the last step always is one
    against = "small-x1-gray"             # optional: a model to compare with
    measure = [                           # folders below --eval, and what is measured there
      { data = "microscopy/w2s_pairs", metric = "si_psnr" },
      { data = "academic/Set12", degrade = "noise:25", metric = "psnr" },
    ]

At every milestone the model is exported to ``STATE/NAME/NAME-STEP.safetensors`` and measured; ``STATE/results.csv`` has
a line for each figure, with its gain over ``against``. The command may be killed at any time: the same command
trains on from the last save, exports and measures what is missing, and repeats nothing. While there is a file
``STATE/pause``, training waits: create it before something is timed. ``STATE`` is ``.training``, which git ignores.
"""

from __future__ import annotations

import argparse
import csv
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from swin2sr_ops.errors import RequestError, Swin2SROpsError
from swin2sr_ops.evaluate import evaluate
from swin2sr_ops.hooks.dispatch import resolve_model
from swin2sr_ops.training import train

COLUMNS = ("run", "step", "data", "degrade", "metric", "value", "gain")
#: Seconds between two looks for the file `pause`.
WAIT = 2.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """An entry of the queue."""

    name: str
    recipe: str | None = None
    init: str | None = None
    steps: int | None = None
    milestones: tuple[int, ...] = ()
    against: str | None = None
    measure: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of(cls, entry: dict[str, Any]) -> Run:
        """Read an entry of the queue's file; raise a RequestError if it is not valid."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(entry) - known)
        if unknown or "name" not in entry or not (entry.get("recipe") or entry.get("init")):
            problem = f"unknown entries {', '.join(unknown)}" if unknown else "no name, or neither recipe nor init"
            raise RequestError(
                f"A run of the queue, {entry!r:.120}, has {problem}; entries are {', '.join(sorted(known))}."
            )
        listed = {key: tuple(entry.get(key, ())) for key in ("milestones", "measure")}
        return cls(**(entry | listed))


def read_queue(path: Path) -> list[Run]:
    """Read the runs, in their order."""
    try:
        runs = [Run.of(entry) for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("run", [])]
    except (OSError, ValueError) as exc:
        raise RequestError(
            f"The queue {str(path)!r} cannot be read ({exc}): give a TOML file with [[run]] tables."
        ) from exc
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise RequestError(f"Two runs of {str(path)!r} have the same name: {', '.join(sorted(names))}.")
    return runs


def work(runs: list[Run], data: Path, eval_root: Path | None, state: Path, **options: Any) -> None:
    """Train what is not finished, measure what was not measured."""
    for run in runs:
        folder = state / run.name
        if (folder / "finished").exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        for file in milestones(run, data, folder, state, options):
            if eval_root is not None:
                measure(run, file, eval_root, state / "results.csv")
        (folder / "finished").touch()


def milestones(run: Run, data: Path, folder: Path, state: Path, options: dict[str, Any]) -> Iterator[Path]:
    """Train from milestone to milestone, and yield the exported model of each, also of those reached earlier."""

    def log(line: str) -> None:
        print(f"{run.name}: {line}", flush=True)
        while (state / "pause").exists():
            time.sleep(WAIT)

    for until in (*sorted(run.milestones), None):
        file = folder / (f"{run.name}-{until}.safetensors" if until is not None else f"{run.name}.safetensors")
        if not file.exists():
            train(
                run.recipe, data=data, out=folder, init=run.init, name=run.name, steps=run.steps,
                until=until, export_to=file, log=log, **options,
            )  # fmt: skip
        yield file


def measure(run: Run, file: Path, root: Path, results: Path) -> None:
    """Append the figures of a model that the file of results lacks."""
    spec = resolve_model(file)
    step = str(spec.provenance["steps_done"])
    known = read_results(results)
    for what in run.measure:
        row = {
            "run": run.name,
            "step": step,
            "data": what["data"],
            "degrade": what.get("degrade", ""),
            "metric": what["metric"],
        }
        if any(all(old[key] == value for key, value in row.items()) for old in known):
            continue
        models = [file, *([run.against] if run.against else [])]
        found = evaluate(
            models, root / what["data"], scale=spec.scale, degrade=what.get("degrade"), metrics=[what["metric"]],
            limit=what.get("limit"),
        )  # fmt: skip
        value, *other = (scores.mean[what["metric"]] for scores in found.models)
        gain = f"{value - other[0]:+.3f}" if other else ""
        append(results, row | {"value": f"{value:.3f}", "gain": gain})
        print(f"{run.name} at step {step}: {what['data']} {what['metric']} {value:.3f} {gain}", flush=True)


def read_results(path: Path) -> list[dict[str, str]]:
    """Read the table of results; empty if there is none yet."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if row.get("gain") is not None]  # a kill may have cut the last


def append(path: Path, row: dict[str, str]) -> None:
    """Rewrite the file with one row more, in one step."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows([*read_results(path), row])
    temporary.replace(path)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("queue", type=Path, help="a TOML file of runs")
    parser.add_argument("--data", type=Path, required=True, help="the recipes' folders of images")
    parser.add_argument("--eval", type=Path, dest="eval_root", help="folder of the sets to measure on")
    parser.add_argument("--state", type=Path, default=Path(".training"), help="folder of all runs (default: .training)")
    parser.add_argument("--save-every", type=int, default=100)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    try:
        work(
            read_queue(args.queue), args.data, args.eval_root, args.state,
            save_every=args.save_every, device=args.device,
        )  # fmt: skip
    except Swin2SROpsError as exc:
        print(f"train_queue: {exc}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
