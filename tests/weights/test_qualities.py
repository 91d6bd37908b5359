"""`fast`, `good` and `best`: one table for all hosts, and every word names a model that is shipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import swin2sr_ops
from swin2sr_ops.cli.parsers import build_parser
from swin2sr_ops.cli.request import request_of
from swin2sr_ops.errors import ModelError, RequestError
from swin2sr_ops.evaluate.restoring import Restoring
from swin2sr_ops.fractal_tasks.restore_image import restore_image as fractal_task
from swin2sr_ops.hooks.dispatch import resolve_model
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.weights.catalogue import shipped
from swin2sr_ops.weights.qualities import QUALITIES, is_quality, model_of_quality, views_of


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_every_word_is_a_shipped_model(scale: int, channels: int) -> None:
    costs = []
    for word in QUALITIES:
        spec = resolve_model(word, scale=scale, channels=channels)
        assert spec.name == model_of_quality(word, scale, channels)
        assert (spec.scale, spec.channels) == (scale, channels)
        assert spec.weights.startswith("package:")
        costs.append(spec.dim * sum(spec.depths) * views_of(word))
    assert costs == sorted(costs)
    assert resolve_model("auto", scale=scale, channels=channels) == resolve_model(
        "good", scale=scale, channels=channels
    )


def test_no_model_is_called_like_a_word() -> None:
    assert not {spec.name for spec in shipped()} & {"auto", *QUALITIES}
    assert [is_quality(m) for m in ("auto", "best", "small-x2-gray", Path("best"))] == [True, True, False, False]


def test_best_averages_eight_views() -> None:
    assert [views_of(m) for m in ("best", "good", "auto", "best,fast", "tiny-x2-gray")] == [8, 1, 1, 8, 1]
    assert RestoreRequest(model="best").placement.ensemble == 8
    assert RestoreRequest(model="good").placement.ensemble == 1
    assert RestoreRequest(model="good", ensemble=8).placement.ensemble == 8
    with pytest.raises(RequestError, match="ensemble=3 is not valid"):
        RestoreRequest(model="best", ensemble=3).validated()
    assert swin2sr_ops.Restorer("best").placement.ensemble == 8
    assert Restoring.of("best", 2, "model", {}).options["ensemble"] == 8


def test_the_same_pixels_as_the_model_and_the_views() -> None:
    image = np.random.default_rng(3).integers(0, 255, (24, 24), dtype="u1")
    for word, asked in (("fast", {}), ("best", {"ensemble": 8})):
        model = model_of_quality(word, 2, 1)
        expected = swin2sr_ops.restore(image, model=model, axes="YX", **asked).compute()
        np.testing.assert_array_equal(swin2sr_ops.restore(image, model=word, axes="YX").compute(), expected)
    mean, spread = swin2sr_ops.restore(image, model="best", axes="YX", spread=True)  # the views have a spread
    np.testing.assert_array_equal(mean.compute(), expected)
    assert spread.shape == mean.shape


def test_the_command_line_takes_the_words(tmp_path: Path) -> None:
    parser = build_parser()
    asked = [request_of(parser.parse_args(["plan", "x.tif", "--model", word])) for word in ("fast", "best")]
    assert [r.placement.ensemble for r in asked] == [1, 8]
    hinted = parser.parse_args(["plan", "x.tif", "--model", "best", "--window", "8"])
    assert request_of(hinted).placement.ensemble == 8  # the model is a spec then, which states no views
    out = tmp_path / "cells.png"
    report = swin2sr_ops.restore_image(_image(tmp_path), out, model="fast")
    assert "nano-x2-gray" in str(report)


def test_fractal_takes_the_words(tmp_path: Path) -> None:
    swin2sr_ops.restore_image(_image(tmp_path), tmp_path / "x.ome.zarr", model="fast")
    found = fractal_task(zarr_url=str(tmp_path / "x.ome.zarr"), model="fast")
    assert found


def test_qualities_without_a_model_are_refused() -> None:
    with pytest.raises(ModelError, match=r"No shipped model has scale=3, channels=1; shipped as fast, good, best are"):
        resolve_model("fast", scale=3, channels=1)
    with pytest.raises(ModelError, match="no model called 'better'"):
        resolve_model("better")
    with pytest.raises(ModelError, match=r"no model called 'goood'\. Did you mean 'good'"):
        resolve_model("goood")


def _image(folder: Path) -> Path:
    from PIL import Image

    path = folder / "in.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (20, 20), dtype="u1")).save(path)
    return path
