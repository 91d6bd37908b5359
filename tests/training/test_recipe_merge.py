"""What a call of `train` states and what a recipe states make one recipe, validated once, with its licences."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from swin2sr_ops.errors import RequestError
from swin2sr_ops.training import train
from swin2sr_ops.training.card import check_card
from swin2sr_ops.training.loop import Trainer
from swin2sr_ops.training.recipe import Recipe
from swin2sr_ops.weights.loader import resolve_spec
from tests.conftest import write_model
from tests.training.conftest import RECIPE

X1 = {"upsampler": "", "scale": 1}


def quiet(_: str) -> None:
    """Ignore log lines."""


@pytest.fixture
def noisy_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "noisy"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (80, 80), dtype="u1")
    tifffile.imwrite(folder / "a.tif", pixels)
    return folder


@pytest.mark.parametrize("text", ['detail_of = "teacher"', "[loss]\nl1 = 1.0\nteacher = 0.3"])
def test_a_recipe_that_needs_a_teacher_takes_that_of_the_call(text: str, data: Path, tmp_path: Path) -> None:
    sage = write_model(tmp_path / "sage.safetensors", name="sage", licence="CC-BY-4.0")
    head, table = RECIPE.split("[folders]")
    head = head.replace("contrast = 0.5", "" if "[" in text else text)
    (tmp_path / "r.toml").write_text(f"{head}[folders]{table}" + (text if "[" in text else ""))
    asked: dict[str, Any] = {"data": data, "out": tmp_path / "run", "until": 0, "log": quiet}
    trainer = train(tmp_path / "r.toml", teacher=tmp_path / "sage.safetensors", **asked)
    assert trainer.recipe.teacher["model"] == sage.name
    with pytest.raises(RequestError, match=r"needs one: give .teacher. or --teacher MODEL"):
        train(tmp_path / "r.toml", **asked)


@pytest.mark.parametrize(
    ("initial", "given"), [({"planes": 3, "along": "Z"}, {"planes": 1}), ({"channels": 4}, {"channels": 1})]
)
def test_noisy_training_converts_the_initial_model(
    initial: dict[str, Any], given: dict[str, Any], noisy_folder: Path, tmp_path: Path
) -> None:
    """The initial model alone could not be trained on noisy images; the model that is asked for can."""
    write_model(tmp_path / "init.safetensors", **X1, **initial)
    asked: dict[str, Any] = {"data": noisy_folder, "out": tmp_path / "run", "patch": 16, "until": 0, "log": quiet}
    trainer = train(init=tmp_path / "init.safetensors", noisy="blind", **given, **asked)
    assert (trainer.recipe.spec.channels, trainer.recipe.spec.planes) == (1, 1)
    with pytest.raises(RequestError, match=r"noisy images train models of|several planes along Z"):
        train(init=tmp_path / "init.safetensors", noisy="blind", **asked)


def test_changes_of_a_recipe_object_count(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"data": data, "out": tmp_path / "run", "until": 0, "log": quiet}
    trainer = train(recipe, steps=7, batch=None, **asked)
    assert trainer.recipe == replace(recipe, steps=7)
    with pytest.raises(RequestError, match="cannot be trained: steps=-1"):
        train(recipe, steps=-1, **asked)
    for one in (recipe, "tiny-x2-gray"):
        with pytest.raises(RequestError, match=r"'stepps' is not a keyword of train: did you mean 'steps'\?"):
            train(one, stepps=5, **asked)


def test_an_axis_of_planes_needs_planes(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"--along T names the axis of neighbouring planes, .* give --planes N"):
        train(recipe, along="T", data=data, out=tmp_path / "run")
    alone = train("nano-x1-volume", planes=1, folders={".": 1.0}, data=data, out=tmp_path / "one", until=0, log=quiet)
    assert alone.recipe.spec.planes == 1


def test_a_made_volume_is_of_one_channel(recipe: Recipe) -> None:
    with pytest.raises(RequestError, match=r"\[volume\] is for models of one channel, and this one has 3: omit"):
        replace(recipe, model=recipe.model | {"channels": 3}, volume={"shift": [0, 1]})


def test_the_licence_of_the_initial_weights_is_kept(noisy_folder: Path, tmp_path: Path) -> None:
    """In the header and the card; a note says that the trained model states another one."""
    write_model(tmp_path / "init.safetensors", name="first", licence="CC-BY-NC-4.0", **X1)
    lines: list[str] = []
    asked: dict[str, Any] = {"data": noisy_folder, "out": tmp_path / "run", "patch": 16, "steps": 2, "batch": 1}
    asked |= {"init": tmp_path / "init.safetensors", "noisy": "blind", "licence": "Apache-2.0"}
    train(until=1, log=lines.append, **asked)
    note = "licence: the initial weights of first have CC-BY-NC-4.0, the trained model states Apache-2.0"
    assert [line for line in lines if line.startswith(note)]
    kept = tmp_path / "run" / "recipe.json"
    assert set(json.loads(kept.read_text())["init"]) == {"name", "sha256"}  # as earlier versions wrote it
    train(export_to=tmp_path / "mine.safetensors", log=quiet, **asked)
    assert resolve_spec(tmp_path / "mine.safetensors").provenance["init"]["licence"] == "CC-BY-NC-4.0"
    card = (tmp_path / "mine.md").read_text()
    assert "from first (licence CC-BY-NC-4.0)" in card
    lines.clear()
    train(log=lines.append, **(asked | {"out": tmp_path / "same", "licence": None, "until": 0}))
    assert not [line for line in lines if line.startswith("licence")]


@pytest.mark.parametrize("text", ["# first-tuned\n\nMy notes.\n", "notes", b"\xff\xfe\x00", None])
def test_a_file_that_is_no_card_is_kept(text: str | bytes | None, noisy_folder: Path, tmp_path: Path) -> None:
    """The refusal comes before the training; a card of the same model is written again."""
    write_model(tmp_path / "init.safetensors", name="first", **X1)
    notes = tmp_path / "mine.md"
    if text is None:
        notes.mkdir()
    else:
        notes.write_bytes(text if isinstance(text, bytes) else text.encode())
    asked: dict[str, Any] = {"data": noisy_folder, "patch": 16, "steps": 1, "batch": 1, "log": quiet}
    asked |= {"init": tmp_path / "init.safetensors", "noisy": "blind", "out": tmp_path / "run"}
    with pytest.raises(RequestError, match=r"mine\.md' is not a card of 'first-tuned'.*rename it"):
        train(export_to=tmp_path / "mine.safetensors", **asked)
    assert not (tmp_path / "run").exists()
    for _ in range(2):
        trainer = train(export_to=tmp_path / "other.safetensors", **asked)
    check_card(tmp_path / "other.safetensors", trainer.recipe)
    assert isinstance(trainer, Trainer)
    assert not list(tmp_path.glob(".*.md"))
