"""``swin2sr-ops train``: its files, resuming after a kill, and messages."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import swin2sr_ops
from swin2sr_ops.cli import main
from swin2sr_ops.errors import RequestError
from swin2sr_ops.training.loop import Trainer
from swin2sr_ops.training.recipe import Recipe
from swin2sr_ops.training.team import Team
from swin2sr_ops.weights.catalogue import read_header
from tests.training.conftest import MUON
from tests.training.test_training import assert_same


@pytest.fixture
def command(file: Path, data: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """The arguments of a run into ``name``, exported to ``name.safetensors``."""

    def words(name: str, *more: str) -> list[str]:
        out = tmp_path / name
        written = ["--out", str(out), "--export", f"{out}.safetensors"]
        return ["train", str(file), "--data", str(data), *written, *more]

    return words


def test_export_can_be_run(
    command: Callable[..., list[str]], tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half precision, with what it is and how it was made, and ready to restore with."""
    assert main(command("run", "--threads", "1")) == 0
    assert "step 6/6" in capsys.readouterr().out
    path = tmp_path / "run.safetensors"
    tensors = load_file(path)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    average = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["average"]
    assert_same({k: v.half() for k, v in average.items()}, tensors)
    restorer = swin2sr_ops.Restorer(path)
    spec = restorer.spec
    assert (spec.name, spec.scale, spec.licence, spec.dim) == ("test-x2", 2, "CC0-1.0", 8)
    made = spec.provenance
    assert (made["steps_done"], made["images"], made["loss"]) == (6, 4, {"l1": 1.0})
    assert made["torch"] == torch.__version__
    assert Recipe(**made["recipe"]).seed == 4
    image = rng.integers(0, 255, (70, 64), dtype="u1")
    array = da.from_array(image, chunks=(35, 64))
    result = da.map_overlap(restorer, array, **restorer.map_overlap_options(array)).compute()
    assert result.shape == (140, 128)
    np.testing.assert_array_equal(result, swin2sr_ops.restore(image, model=path).compute())


@MUON
def test_the_optimiser_is_the_commands(command: Callable[..., list[str]], tmp_path: Path) -> None:
    assert main(command("run", "--optimiser", "muon")) == 0
    made = swin2sr_ops.Restorer(tmp_path / "run.safetensors").spec.provenance
    assert made["recipe"]["optimiser"] == "muon"


PROGRAM = [sys.executable, "-c", "from swin2sr_ops.cli import main; raise SystemExit(main())"]


def test_killed_and_resumed(command: Callable[..., list[str]], tmp_path: Path) -> None:
    """Law 5: after real SIGKILLs at random moments, the same command ends with the same weights, bit by bit."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    options = ["--steps", "60", "--save-every", "5", "--threads", "1"]
    assert main(command("whole", *options)) == 0

    state, log = tmp_path / "killed" / "state.pt", tmp_path / "killed" / "log.csv"
    wait = np.random.default_rng()
    reached = [0]
    for _ in range(3):
        began = state.stat().st_mtime_ns if state.exists() else 0
        run = subprocess.Popen([*PROGRAM, *command("killed", *options)], env=environment, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 120
            while run.poll() is None and time.monotonic() < deadline:
                if state.exists() and state.stat().st_mtime_ns != began:
                    break
                time.sleep(0.002)
            time.sleep(wait.uniform(0, 0.1))
        finally:
            run.kill()
        if run.wait() != -signal.SIGKILL:
            break  # it had finished before
        reached.append(torch.load(state, weights_only=True)["step"])
        if reached[-1] < 60:  # later it may have been killed while it exported
            assert not (tmp_path / "killed.safetensors").exists()
    assert len(reached) > 1
    assert sorted(set(reached)) == reached

    again = subprocess.run([*PROGRAM, *command("killed", *options)], env=environment, capture_output=True)
    assert again.returncode == 0
    assert int(log.read_text().splitlines()[-1].split(",")[0]) == 60
    # Not the files' bytes: safetensors writes the entries of its header in random order.
    exported = [tmp_path / f"{name}.safetensors" for name in ("whole", "killed")]
    assert_same(*map(load_file, exported))
    assert_same(*map(read_header, exported))


def test_an_interrupt_says_how_to_resume(
    command: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: Trainer) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_train_step", interrupt)
    assert main(command("run")) == 130
    assert capsys.readouterr().err == "swin2sr-ops: stopped; the same command resumes the run\n"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (1, "tiny-x9", "no recipe 'tiny-x9'"),
        (3, "nowhere", "no folder 'nowhere' for training images"),
        (1, "tiny-x2-gray", "microscopy contains no image"),
        (1, "finetune", "no [model] table, and there is no --init"),
        (7, "model.pth", "must end with .safetensors"),
        (7, "nowhere/model.safetensors", "create it first"),
        (8, "--device nosuch", "device='nosuch' cannot be used here"),
        (8, "--device cuda:77", "device='cuda:77' cannot be used here"),
        (8, "--save-every 0", "save_every=0"),
        (8, "--steps -3", "steps=-3"),
        (8, "--lr much", "argument --lr: 'much' is not a number"),
        (8, "--optimiser sgd", "optimiser='sgd' must be 'adam' or 'muon'"),
        (8, "--init nothing-x2", "nothing-x2"),
        (8, "--init tiny-x2-gray", "belong to another network than 'test-x2'"),
        (8, "--validate nowhere", "no folder 'nowhere' for held-out images"),
        (8, "--paired", "blobs' has no pairs: expected folders such as clean/ and noisy/"),
    ],
)
def test_command_errors(
    command: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    old: int,
    new: str,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = command("run")
    assert main([*words[:old], *new.split(), *words[old + 1 :]]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("swin2sr-ops: error: ")
    assert err.count("\n") == 1
    assert says in err
    assert not (tmp_path / "run" / "state.pt").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("train", "--data is missing: training needs --data FOLDER and --out RUN"),
        ("train --data . --out run", "no model to train: give a recipe (a TOML file or a name), or --init MODEL"),
        ("train --recipe-of nothing", "no built-in recipe 'nothing', only finetune"),
    ],
)
def test_missing_arguments(words: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    assert says in capsys.readouterr().err


def test_out_that_is_a_file(
    command: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").write_text("in the way")
    assert main(command("run")) == 2
    assert "run" in capsys.readouterr().err


def test_built_in_recipes_are_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", "--recipe-of"]) == 0
    names = capsys.readouterr().out.split()
    assert {"finetune", "tiny-x2-gray", "tiny-x2-rgb"} <= set(names)
    assert main(["train", "--recipe-of", "tiny-x2-gray"]) == 0
    (tmp_path / "own.toml").write_text(capsys.readouterr().out)
    assert Recipe.read(tmp_path / "own.toml") == Recipe.read("tiny-x2-gray")


def test_validation(
    command: Callable[..., list[str]], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each save logs the PSNR of held-out images; the picture has input, result and truth side by side."""
    assert main(command("run", "--validate", str(data / "blobs"), "--save-every", "3")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("trained with ")
    assert "held out" in lines[1]
    assert "patches/s" in lines[1]
    assert "min left" in lines[1]
    with (tmp_path / "run" / "log.csv").open(encoding="utf-8") as log:
        rows = list(csv.DictReader(log))
    assert [row["step"] for row in rows] == ["3", "6"]
    assert all(10 < float(row["psnr"]) < 60 for row in rows)
    with Image.open(tmp_path / "run" / "validation.png") as picture:
        assert picture.size[0] == 3 * (74 + 4)  # 90 px less the margin of 4 x 2 px at each side
    assert main(command("other", "--quiet")) == 0
    assert capsys.readouterr().out == ""


def test_processes_share_a_batch(command: Callable[..., list[str]], tmp_path: Path) -> None:
    """Two processes of torchrun, each with half of every batch, end where one ends, up to the order of sums."""
    words = ["-c", "from swin2sr_ops.cli import main; raise SystemExit(main())"]
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*run, sys.executable, *words, *command("two", "--device", "cpu")],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step 6/6") == 1  # the first process speaks for both
    assert main(command("one")) == 0
    one, two = (load_file(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name].float(), value.float(), rtol=0, atol=2e-3)


def test_a_batch_that_cannot_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(RequestError, match="A batch of 4 patches cannot be divided by 3 processes: give a multiple"):
        Team.join("cpu", 4)


def test_the_recipe_of_the_documentation(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    text = re.search(r"```text\nnot run: a recipe with everything\n(.*?)```", page, re.DOTALL)
    assert text is not None
    (tmp_path / "shown.toml").write_text(text[1])
    recipe = Recipe.read(tmp_path / "shown.toml")
    assert list(recipe.degrade) == ["poisson", "noise", "quantise", "jpeg"]
    assert recipe.loss == {"charbonnier": 1.0, "auxiliary": 0.1, "hf": 1.0}
