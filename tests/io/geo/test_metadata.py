"""Metadata of rasters after a change of scale, compared with numbers computed by hand."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from swin2sr_ops.io.geo.metadata import bands_by_colour, channels_of, scaled

GEO = {
    "crs": "a WKT",
    "transform": [10.0, 1.0, 500.0, 2.0, -20.0, 900.0],
    "gcps": [[0.5, 2.0, 12.0, 47.0, 100.0, "1", "a bridge"]],
    "rpcs": {"LINE_OFF": "0", "LINE_SCALE": "100", "SAMP_OFF": "10.5", "SAMP_SCALE": "50", "LAT_OFF": "47.25"},
    "tags": {"STATISTICS_MEAN": "3", "TIFFTAG_XRESOLUTION": "300", "TIFFTAG_MAXSAMPLEVALUE": "9", "SATELLITE": "S2"},
    "band_tags": [{"STATISTICS_MAXIMUM": "9", "name": "red edge"}],
    "descriptions": ["B05"],
    "colorinterp": ["gray"],
}


def at(transform, x, y):
    a, b, c, d, e, f = transform
    return a * x + b * y + c, d * x + e * y + f


@pytest.mark.parametrize("s", [2, 3, 4])
def test_every_corner_stays_where_it_is(s):
    new = scaled(GEO, s)
    for x, y in [(0, 0), (7, 0), (0, 5), (7, 5), (3.5, 2.5)]:
        np.testing.assert_allclose(at(new["transform"], x * s, y * s), at(GEO["transform"], x, y), rtol=1e-14)


def test_control_points_count_from_the_corner():
    assert scaled(GEO, 4)["gcps"] == [[2.0, 8.0, 12.0, 47.0, 100.0, "1", "a bridge"]]


def test_rpcs_count_from_the_centre_of_the_first_pixel():
    rpcs = scaled(GEO, 2)["rpcs"]
    # line 0 is the middle of the first row: half way between the new rows 0 and 1
    assert float(rpcs["LINE_OFF"]) == 0.5
    assert float(rpcs["SAMP_OFF"]) == 21.5
    assert (float(rpcs["LINE_SCALE"]), float(rpcs["SAMP_SCALE"])) == (200, 100)
    assert rpcs["LAT_OFF"] == "47.25"


def test_statistics_of_the_old_pixels_go():
    new = scaled(GEO, 2)
    assert new["tags"] == {"TIFFTAG_XRESOLUTION": "600", "SATELLITE": "S2"}
    assert new["band_tags"] == [{"name": "red edge"}]


def test_the_rest_and_the_original_stay():
    before = copy.deepcopy(GEO)
    new = scaled(GEO, 2)
    assert before == GEO
    assert (new["crs"], new["descriptions"], new["colorinterp"]) == ("a WKT", ["B05"], ["gray"])


def test_a_description_may_be_short():
    assert scaled({}, 2)["gcps"] == []
    assert scaled({"transform": None, "rpcs": {}}, 2)["transform"] is None


@pytest.mark.parametrize(
    ("colours", "names", "expected"),
    [
        (["red", "green", "blue"], [None] * 3, (0, 1, 2, None, [])),
        (["blue", "green", "red", "alpha", "undefined"], [None] * 5, (2, 1, 0, 3, [4])),
        (["gray", "undefined", "undefined"], ["Blue", "Green", "Red"], (2, 1, 0, None, [])),
        (["gray", "undefined", "undefined"], ["B02", "B03", "B04"], (None, None, None, None, [0, 1, 2])),
        (["gray", "alpha"], [None] * 2, (None, None, None, 1, [0])),
        (["red", "green"], [None] * 2, (None, None, None, None, [0, 1])),
        (["red", "green", "blue", "red"], [None] * 4, (0, 1, 2, None, [3])),
        ([], [], (None, None, None, None, [])),
    ],
)
def test_bands_by_colour(colours, names, expected):
    found = bands_by_colour({"colorinterp": colours, "descriptions": names})
    assert tuple(found[k] for k in ("red", "green", "blue", "alpha", "others")) == expected


def test_channels_are_called_as_the_bands_are():
    geo = {"colorinterp": ["red", "undefined", "gray"], "descriptions": [None, "B08", None]}
    assert channels_of(geo) == ({"label": "red", "color": "FF0000"}, {"label": "B08"}, {})
    assert channels_of({"colorinterp": ["gray", "undefined"], "descriptions": [None, None]}) == ()
