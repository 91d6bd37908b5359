"""A tag that GDAL cannot read gives an error that names the file."""

from __future__ import annotations

import pytest

from swin2sr_ops.errors import FormatError

pytest.importorskip("rasterio")


def test_errors_that_rasterio_does_not_convert() -> None:
    from rasterio._err import CPLE_AppDefinedError

    from swin2sr_ops.io.geo.files import naming

    with pytest.raises(FormatError, match=r"'a\.tif' cannot be read \(.*of custom tag 14649"), naming("a.tif"):
        raise CPLE_AppDefinedError(1, 1, "set_get_field_type of custom tag 14649")
    with pytest.raises(FormatError, match="cannot be read"), naming("a.tif"):
        raise UnicodeDecodeError("utf-8", b"caf\xe9", 3, 4, "invalid")
