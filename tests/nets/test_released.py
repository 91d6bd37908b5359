"""The main promise on a real photograph with real weights: the same bytes for any tiling."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from PIL import Image

import swin2sr_ops

# Minutes of one core without a C compiler.
pytestmark = pytest.mark.timeout(3000)

ODD = ((7, 250, 1, 162), (97,) * 6 + (38,), (3,))


@lru_cache(maxsize=1)
def photograph(shared: Path) -> np.ndarray:
    """420 x 620 px."""
    with Image.open(shared / "data" / "train" / "photo" / "budgie_roman-colosseum.jpg") as picture:
        return np.asarray(picture.convert("RGB"))[:420, :620]


@lru_cache(maxsize=2)
def whole(shared: Path, rows: int, columns: int) -> str:
    return digest(shared, photograph(shared)[:rows, :columns], 900)


def digest(shared: Path, array: np.ndarray | da.Array, tile: int) -> str:
    model = shared / "weights" / "swin2sr-lightweight-x2-64"
    result = swin2sr_ops.restore(array, model=model, axes="YXC", tile=tile).compute()
    assert result.shape == (2 * array.shape[0], 2 * array.shape[1], 3)
    return hashlib.sha256(result.tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("tile", "rows", "columns", "chunks"),
    [
        (96, 230, 300, None),  # a part: most of what smaller tiles compute is halo
        (256, 420, 620, None),
        (400, 420, 620, None),
        (400, 420, 620, ODD),
    ],
    ids=["96 px", "256 px", "400 px", "odd chunks"],
)
def test_the_same_bytes(shared: Path, tile: int, rows: int, columns: int, chunks: tuple | None) -> None:
    image = photograph(shared)[:rows, :columns]
    array = image if chunks is None else da.from_array(image, chunks=chunks)
    assert digest(shared, array, tile) == whole(shared, rows, columns)
