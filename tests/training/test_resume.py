"""A resumed run: on the same images only, with each row of its log once and whole."""

from __future__ import annotations

import json
import shutil
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from swin2sr_ops.errors import RequestError, Stopped
from swin2sr_ops.training.images import load_images
from swin2sr_ops.training.loop import Trainer
from swin2sr_ops.training.planes import digest_of
from swin2sr_ops.training.recipe import Recipe
from tests.training.test_noisy import recipe as noisy_recipe, recorded
from tests.training.test_training import quiet, read_log, train


@pytest.mark.parametrize("change", ["pixel", "other", "more", "less"])
def test_other_images_are_refused(recipe: Recipe, data: Path, tmp_path: Path, change: str) -> None:
    """The weights would be those of neither set; names alone may change, where the order stays."""
    own = shutil.copytree(data, tmp_path / "own")
    train(recipe, own, tmp_path / "run", until=2)
    deep = own / "blobs" / "sixteen.tif"
    pixels = tifffile.imread(deep)
    if change == "pixel":
        pixels[40, 40] += 9
        tifffile.imwrite(deep, pixels)
    elif change == "other":
        tifffile.imwrite(deep, pixels[::-1])
    elif change == "more":
        tifffile.imwrite(own / "blobs" / "z.tif", pixels)
    else:
        (own / "blobs" / "gray.png").unlink()
    with pytest.raises(RequestError, match="was started on other images than those given now: bring these back"):
        Trainer(recipe, own, tmp_path / "run")
    (data / "noise" / "readme.txt").touch()
    assert train(recipe, data, tmp_path / "run").step == 6


def test_other_noisy_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pixels = recorded(np.random.default_rng(0), 2, 100)
    asked = noisy_recipe("repeats", steps=2, batch=1)
    tifffile.imwrite(tmp_path / "data" / "a.tif", pixels, metadata={"axes": "TYX"})
    train(asked, tmp_path / "data", tmp_path / "run", until=1)
    tifffile.imwrite(tmp_path / "data" / "a.tif", pixels[::-1], metadata={"axes": "TYX"})
    with pytest.raises(RequestError, match="was started on other images"):
        Trainer(asked, tmp_path / "data", tmp_path / "run")


def test_a_run_of_an_earlier_version_has_no_digest(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    train(recipe, data, tmp_path / "run", until=2)
    file = tmp_path / "run" / "recipe.json"
    kept = json.loads(file.read_text())
    assert len(kept.pop("images")) == 32
    file.write_text(json.dumps(kept))
    one = replace(recipe, folders={"blobs": 0.75, "noise": 0.25})
    assert train(one, data, tmp_path / "run", until=3).step == 3
    file.write_text(file.read_text()[:40])
    with pytest.raises(RequestError, match=r"recipe\.json is damaged"):
        Trainer(recipe, data, tmp_path / "run")


def test_the_digest_is_that_of_shapes_and_pixels() -> None:
    image = np.arange(60.0).reshape(1, 6, 10)
    assert digest_of([image]) == digest_of([None, image.copy()]) == digest_of([np.repeat(image, 2, 2)[..., ::2]])
    assert len({digest_of(x) for x in ([image], [image.reshape(1, 10, 6)], [image, image], [image + 1])}) == 4


def test_the_luma_of_a_picture_is_that_of_any_processor(tmp_path: Path) -> None:
    """Products and sums in one order, as NumPy computes them, and not as a BLAS for this processor does."""
    colour = np.random.default_rng(0).integers(0, 255, (67, 91, 3), dtype="u1")
    tifffile.imwrite(tmp_path / "a.tif", colour, photometric="rgb")
    x = colour.astype("f4") / np.float32(255)
    weights = np.array([0.299, 0.587, 0.114], "f4")
    (plane,) = load_images(tmp_path / "a.tif", 1)
    np.testing.assert_array_equal(plane[0], np.einsum("hwc,c->hw", x, weights))


def test_a_log_before_the_first_save(
    recipe: Recipe, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the first row was written and before the first state was: the row comes once."""

    def killed(self: Trainer) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, data, tmp_path, save_every=2)
    assert read_log(tmp_path)[:, 0].tolist() == [2]
    train(recipe, data, tmp_path, save_every=2)
    assert read_log(tmp_path)[:, 0].tolist() == [2, 4, 6]


def test_a_row_is_the_mean_of_all_its_steps(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    """A run that was stopped between two rows writes the same ones as an undisturbed run."""
    train(recipe, data, tmp_path / "whole", save_every=4)
    asked: list[None] = []
    with pytest.raises(Stopped):
        train(recipe, data, tmp_path / "stopped", save_every=4, stop=lambda: asked.append(None) or len(asked) == 4)
    trainer = Trainer(recipe, data, tmp_path / "stopped")
    assert (trainer.step, len(trainer.losses)) == (3, 3)
    trainer.run(save_every=4, log=quiet)
    np.testing.assert_array_equal(read_log(tmp_path / "stopped"), read_log(tmp_path / "whole"))


def test_a_log_that_is_none_is_kept(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    own = "time,temperature\n1,20\n"
    (tmp_path / "log.csv").write_text(own)
    with pytest.raises(RequestError, match=r"log\.csv is not a log of a training: choose another folder"):
        train(recipe, data, tmp_path, until=1)
    assert (tmp_path / "log.csv").read_text() == own


def test_rows_of_zeros(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    """A file system may lose the last row's bytes after a power failure, but not its length."""
    train(recipe, data, tmp_path, save_every=2, until=4)
    log = tmp_path / "log.csv"
    log.write_bytes(log.read_bytes() + bytes(20) + b"\n")
    train(recipe, data, tmp_path, save_every=2)
    assert read_log(tmp_path)[:, 0].tolist() == [2, 4, 6]


def test_a_state_whose_bytes_a_file_system_lost(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    """Torch reads zeros for weights without a word; the archive's checksums differ."""
    train(recipe, data, tmp_path, until=1)
    file = tmp_path / "state.pt"
    content = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        largest = max((i for i in archive.infolist() if "/data/" in i.filename), key=lambda i: i.file_size)
    first = largest.header_offset + 30 + sum(struct.unpack_from("<HH", content, largest.header_offset + 26))
    content[first : first + largest.file_size] = bytes(largest.file_size)
    file.write_bytes(content)
    torch.load(file, weights_only=True)
    with pytest.raises(RequestError, match=r"state\.pt is damaged .*checksum"):
        Trainer(recipe, data, tmp_path)
