"""No message shows a secret of an address."""

from __future__ import annotations

import pytest

from swin2sr_ops.errors import FormatError, without_secrets

_SECRET = "SECRET"


@pytest.mark.parametrize(
    "text",
    [
        "'https://host/a.tif?se=2026&sig=SECRET' cannot be read.",
        "/vsicurl/https://host/a.tif?X-Amz-Signature=SECRET",
        "/vsicurl?max_retry=1&url=https%3A%2F%2Fhost%2Fa.tif%3Fsig%3DSECRET",
        "https://user:SECRET@host/a.zarr",
        "ftp://me:SECRET@host/a.tif and more",
        "PG:dbname='maps' password='SECRET' user=me",
        "AWS_SECRET_ACCESS_KEY=SECRET",
        "HTTP 403: https://host/a?token=SECRET, tried twice",
    ],
)
def test_secrets_are_left_out(text):
    assert _SECRET not in without_secrets(text).replace("AWS_SECRET_ACCESS_KEY", "")
    assert _SECRET not in str(FormatError(text)).replace("AWS_SECRET_ACCESS_KEY", "")


@pytest.mark.parametrize(
    "text", ["'scan_?.tif' matches nothing", "s3://bucket/scan?.zarr", "https://host/a.tif", "nodata=-9999", "a@b.c"]
)
def test_other_parts_stay(text):
    assert without_secrets(text) == text
