"""Damaged chunks of every codec get a sentence, and removed chunks are no wrong names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

import swin2sr_ops
from swin2sr_ops.audit import audit
from swin2sr_ops.errors import FormatError, Swin2SROpsError
from swin2sr_ops.io.zarr.source import open_source
from swin2sr_ops.io.zarr.store import naming
from swin2sr_ops.spec import ModelSpec

CODECS: dict[str, dict[str, Any]] = {
    "blosc": {"zarr_format": 3, "compressors": BloscCodec(cname="zstd", typesize=2)},
    "zstd": {"zarr_format": 3, "compressors": ZstdCodec(checksum=True)},
    "gzip": {"zarr_format": 3, "compressors": GzipCodec()},
    "crc32c": {"zarr_format": 3, "compressors": [ZstdCodec(), Crc32cCodec()]},
    "shard": {"zarr_format": 3, "compressors": BloscCodec(typesize=2), "chunks": (8, 8), "shards": (16, 16)},
    "blosc v2": {"zarr_format": 2, "compressors": numcodecs.Blosc()},
    "lz4 v2": {"zarr_format": 2, "compressors": numcodecs.LZ4()},
    "zlib v2": {"zarr_format": 2, "compressors": numcodecs.Zlib()},
    "bz2 v2": {"zarr_format": 2, "compressors": numcodecs.BZ2()},
    "lzma v2": {"zarr_format": 2, "compressors": numcodecs.LZMA()},
    "fletcher v2": {"zarr_format": 2, "compressors": numcodecs.Zstd(), "filters": [numcodecs.Fletcher32()]},
}


def chunks_of(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and not p.name.startswith((".z", "zarr.json"))]


@pytest.mark.parametrize("codec", CODECS)
def test_a_flipped_bit_gets_a_sentence(codec: str, tmp_path: Path, rng: np.random.Generator) -> None:
    """Any bit of the beginning of a chunk, where codecs store sizes, and of its end, where checksums lie."""
    given = {"chunks": (16, 16), **CODECS[codec]}
    array = zarr.create_array(tmp_path / "a.zarr", shape=(16, 16), dtype="u2", **given)
    array[:] = rng.integers(0, 50, (16, 16))
    (chunk,) = chunks_of(tmp_path / "a.zarr")
    whole = chunk.read_bytes()
    refused = 0
    for place in {*range(min(40, len(whole))), *range(max(0, len(whole) - 20), len(whole))}:
        for bit in range(8):
            spoilt = bytearray(whole)
            spoilt[place] ^= 1 << bit
            chunk.write_bytes(spoilt)
            try:
                open_source(str(tmp_path / "a.zarr")).read((slice(0, 16), slice(0, 16)))
            except FormatError as exc:
                assert "it is damaged or incomplete" in str(exc)  # noqa: PT017  # other errors must pass
                refused += 1
    assert refused > 20


def test_errors_that_are_not_damage_pass() -> None:
    for error in (Swin2SROpsError("own"), UserWarning("a warning"), KeyboardInterrupt()):
        with pytest.raises(type(error)), naming("a.zarr", "decoding failed"):
            raise error


@pytest.mark.parametrize("ngff", ["0.5", "0.4"])
def test_a_damaged_and_a_removed_chunk_of_an_output(
    ngff: str, gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Blosc raises SystemError for a negative size; the folder of a removed chunk does not count as a chunk."""
    zarr.create_array(tmp_path / "in.zarr", data=rng.integers(0, 999, (16, 16)).astype("u2"))
    out = tmp_path / "out.ome.zarr"
    swin2sr_ops.restore_image(tmp_path / "in.zarr", out, model=gray_model, ngff=ngff)
    (chunk,) = chunks_of(out / "0")
    whole = bytearray(chunk.read_bytes())
    for source in (chunk, chunks_of(tmp_path / "in.zarr")[0]):
        kept = source.read_bytes()
        source.write_bytes(whole[:7] + bytes([whole[7] ^ 0x80]) + whole[8:])
        with pytest.raises(FormatError, match="damaged or incomplete"):
            open_source(str(out if source == chunk else tmp_path / "in.zarr")).read((slice(0, 16), slice(0, 16)))
        source.write_bytes(kept)
    chunk.write_bytes(whole[:7] + bytes([whole[7] ^ 0x80]) + whole[8:])
    assert "cannot be read" in audit(out, model=gray_model.weights).differences[0].reason
    chunk.unlink()
    assert audit(out, model=gray_model.weights).wrong == 1
    shutil.rmtree(chunk.parent)
    assert audit(out, model=gray_model.weights).wrong == 1


def test_chunks_of_another_name_are_still_refused(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", shape=(16, 16), chunks=(8, 8), dtype="u1", zarr_format=3)
    array[:] = 1
    shutil.move(tmp_path / "a.zarr/c", tmp_path / "a.zarr/kept")
    (tmp_path / "a.zarr/c/0").mkdir(parents=True)
    (tmp_path / "a.zarr/0").mkdir()
    assert open_source(str(tmp_path / "a.zarr")).info.shape == (16, 16)
    for row in "01":
        for column in "01":
            shutil.copy(tmp_path / f"a.zarr/kept/{row}/{column}", tmp_path / f"a.zarr/{row}.{column}")
    with pytest.raises(FormatError, match=r"has chunks named .\d\.\d"):
        open_source(str(tmp_path / "a.zarr"))
