"""One request behind all public functions: the same keywords, with the same defaults and types."""

from __future__ import annotations

import inspect
from dataclasses import fields
from importlib import import_module

import pytest

import swin2sr_ops
from swin2sr_ops.errors import PlanError, RequestError
from swin2sr_ops.options import OPTIONS
from swin2sr_ops.placement import Placement
from swin2sr_ops.request import ArrayKeywords, OutputOptions, RestoreRequest

#: Keywords for files, which `restore` lacks.
OF_FILES = {"level", "series", "array", "mask", "chunks", "shards"}


@pytest.mark.parametrize("name", ["restore", "restore_image", "restore_batch"])
def test_public_functions_have_the_same_keywords(name: str) -> None:
    signature = inspect.signature(getattr(swin2sr_ops, name))
    expected = {f.name: (f.default, f.type) for f in fields(RestoreRequest)}
    if name == "restore":
        expected = {key: value for key, value in expected.items() if key not in OF_FILES}
    found = {p.name: (p.default, p.annotation) for p in signature.parameters.values() if p.name in expected}
    assert found == expected
    keyword_only = {p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert set(expected) <= keyword_only


def test_the_table_of_options_has_the_same_defaults() -> None:
    """It is a module of its own, because ``--help`` loads no NumPy."""
    assert {name: option.default for name, option in OPTIONS.items()} == {
        field.name: field.default for field in fields(RestoreRequest)
    }
    assert all(option.name == name and option.line for name, option in OPTIONS.items())


def test_overloads_and_options_list_the_same_keywords() -> None:
    asked = {f.name: f.type for f in fields(RestoreRequest) if f.name not in OF_FILES}
    assert {name: value.__forward_arg__ for name, value in ArrayKeywords.__annotations__.items()} == asked
    taken = inspect.signature(import_module("swin2sr_ops.io.zarr.sink").create_sink).parameters
    read_by_the_run, of_geotiff = {"calibration", "limit", "noise"}, {"creation"}
    assert set(OutputOptions.__annotations__) - read_by_the_run - of_geotiff <= set(taken)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("pyramids", "did you mean 'pyramid'"),
        ("modle", "did you mean 'model'"),
        ("xyz", "there are .*dst, model"),
        ("depth", "'halo'"),
    ],
)
def test_an_unknown_option_is_rejected_before_anything_is_opened(name: str, hint: str) -> None:
    with pytest.raises(RequestError, match=f"'{name}' is not a keyword .* {hint}"):
        swin2sr_ops.restore_image("there is no such file.tif", "out.tif", **{name: False})
    with pytest.raises(RequestError, match=f"'{name}' is not a keyword .* {hint}"):
        swin2sr_ops.restore_batch("there is no such file.tif", "out", **{name: False})


def test_a_restorer_is_placed_by_the_same_keywords() -> None:
    asked = inspect.signature(swin2sr_ops.Restorer).parameters
    assert {f.name: f.default for f in fields(Placement)} == {
        name: p.default for name, p in asked.items() if name != "model"
    }


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"range": "from dawn to dusk"}, "range='from dawn to dusk'"),
        ({"ensemble": 4}, "ensemble=4 is not valid"),
        ({"tile": "wide"}, "tile='wide' is not understood"),
        ({"chunks": (1, 2, 3)}, "chunks=.* is not understood"),
        ({"shards": 0.5}, "shards=0.5 is not understood"),
        ({"scale": "2"}, "scale='2' is not understood"),
        ({"level": 0.5}, "level=0.5 is not understood"),
    ],
)
def test_invalid_values_are_rejected_before_anything_is_opened(given: dict, sentence: str) -> None:
    with pytest.raises((RequestError, PlanError), match=sentence):
        swin2sr_ops.restore_image("there is no such file.tif", "out.tif", **given)


def test_one_image_of_many() -> None:
    request = RestoreRequest(model="nano-x2-gray", series=1)
    assert request.for_image(series=2, axes="ZYX") == RestoreRequest(model="nano-x2-gray", series=2, axes="ZYX")
    assert request.series == 1
