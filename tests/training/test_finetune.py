"""Fine-tune a shipped model on new images by the command of the documentation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from swin2sr_ops.cli import main
from swin2sr_ops.errors import ModelError, RequestError
from swin2sr_ops.evaluate import evaluate
from swin2sr_ops.training import train
from swin2sr_ops.training.recipe import Recipe
from swin2sr_ops.weights.loader import resolve_spec
from tests.conftest import write_model


def fields(folder: Path, count: int, seed: int) -> None:
    """Bright discs on black, as 16-bit TIFF."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:128, :128]
    for i in range(count):
        image = np.zeros((128, 128))
        for _ in range(120):
            (row, column), radius = rng.uniform(4, 124, 2), rng.uniform(2, 5)
            image += (np.hypot(y - row, x - column) < radius) * rng.uniform(0.3, 1)
        tifffile.imwrite(folder / f"{i}.tif", (image / image.max() * 4000 + 200).astype("u2"))


def test_it_helps_on_held_out_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A short run of the documented command: the tuned model is much better on unseen noisy fields."""
    fields(tmp_path / "fields", 12, 0)
    fields(tmp_path / "heldout", 3, 1)
    tuned = tmp_path / "mine.safetensors"
    words = ["train", "finetune-noisy", "--init", "tiny-x2-gray", "--data", str(tmp_path / "fields")]
    words += ["--out", str(tmp_path / "run"), "--validate", str(tmp_path / "heldout"), "--export", str(tuned)]
    assert main([*words, "--steps", "60", "--save-every", "30", "--batch", "2", "--patch", "32"]) == 0
    assert "held out" in capsys.readouterr().out
    spec = resolve_spec(tuned)
    assert spec.name == "tiny-x2-gray-tuned"
    assert spec.provenance["init"]["name"] == "tiny-x2-gray"
    assert len(spec.provenance["init"]["sha256"]) == 64
    assert not spec.halo_error  # that of the other weights
    found = evaluate(["tiny-x2-gray", str(tuned)], tmp_path / "heldout", scale=2, degrade="bicubic+poisson:60")
    before, after = (m["mean"]["psnr"] for m in found.to_dict()["models"])
    assert after > before + 0.5


def test_it_begins_with_the_weights(tmp_path: Path, data: Path) -> None:
    """Before the first step the network equals the model, and the run cannot be resumed from another one."""
    write_model(tmp_path / "a.safetensors")
    write_model(tmp_path / "b.safetensors", depths=(3, 3))
    options = {"data": data, "out": tmp_path / "run", "log": lambda _: None, "folders": {"blobs": 1.0}, "patch": 16}
    trainer = train(init=tmp_path / "a.safetensors", until=0, **options)
    from safetensors.torch import load_file

    for name, value in load_file(tmp_path / "a.safetensors").items():
        assert torch.equal(trainer.net.state_dict()[name], value)
    assert trainer.anew == []
    train(init=tmp_path / "a.safetensors", until=1, **options)
    with pytest.raises(RequestError, match=r"was started with init=.*give another folder"):
        train(init=tmp_path / "b.safetensors", until=2, **options)


def test_another_head_begins_anew(tmp_path: Path, data: Path) -> None:
    """A model for x2 is a good start for x4: all weights except the head are kept, and a note says so."""
    spec = write_model(tmp_path / "x2.safetensors", upsampler="pixelshuffle", num_feat=8)
    model = {k: v for k, v in spec.to_dict().items() if k not in ("weights", "sha256", "size_bytes", "reach")}
    recipe = Recipe(model=model | {"scale": 4, "name": "x4"}, folders={"blobs": 1.0}, patch=8, steps=1, batch=1)
    told: list[str] = []
    trainer = train(recipe, init=tmp_path / "x2.safetensors", data=data, out=tmp_path / "run", log=told.append)
    assert trainer.anew == ["upsample.2.bias", "upsample.2.weight"]
    assert told[0] == "initialised anew, since x4 has another shape there: upsample.2.bias, upsample.2.weight"
    wider = replace(recipe, model=recipe.model | {"dim": 24})
    with pytest.raises(RequestError, match=r"belong to another network than 'x4'.*Omit \[model\] in the recipe"):
        train(wider, init=tmp_path / "x2.safetensors", data=data, out=tmp_path / "other")


def test_only_our_networks_are_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "a.safetensors")
    monkeypatch.setattr("swin2sr_ops.training.api.build_network", lambda spec: torch.nn.Conv2d(1, 1, 3))
    with pytest.raises(ModelError, match=r"is another network \(.*\): only Swin2SR and SwinIR can be trained"):
        train(init=tmp_path / "a.safetensors", data=tmp_path, out=tmp_path / "run")
