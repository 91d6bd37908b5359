"""Options that a format does not have are named, all at once, with the format that has them."""

from __future__ import annotations

import pytest

from swin2sr_ops.errors import RequestError
from swin2sr_ops.io.output.options import reject_options


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["spread"], "'spread' is not an option of PNG: only OME-Zarr (.zarr) has it."),
        (
            ["spread", "interval", "labels"],
            "'spread', 'interval' and 'labels' are not options of PNG: only OME-Zarr (.zarr) has them.",
        ),
        (
            ["spread", "creation", "ngff"],
            "'spread', 'ngff' and 'creation' are not options of PNG: only OME-Zarr (.zarr) has 'spread' and 'ngff' and"
            " only a Cloud Optimized GeoTIFF (.tif, of a georeferenced image) has 'creation'.",
        ),
    ],
)
def test_every_wrong_option_is_named(names: list[str], says: str) -> None:
    with pytest.raises(RequestError) as caught:
        reject_options(names, "PNG")
    assert str(caught.value) == says


def test_no_option_is_no_error() -> None:
    reject_options({}, "PNG")
