"""Hostile input is refused in a sentence, quickly, and without memory for what it only claims."""

from __future__ import annotations

import json
import random
import shutil
import struct
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

import swin2sr_ops
from swin2sr_ops.batch.collect import collect
from swin2sr_ops.errors import FormatError, RequestError, Swin2SROpsError
from swin2sr_ops.training.recipe import RECIPES, Recipe
from swin2sr_ops.weights.loader import load_network, resolve_spec

resource = pytest.importorskip("resource")  # Windows has none
SEED = 20261130
PER_KIND = 40
TOKENS = [b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"../", b"\0", b"1e999", b"-1", b"null", b"[]", b"{}", b"9" * 20]
VALUES = [
    None,
    0,
    -1,
    1.5,
    2**31,
    2**63,
    2**70,
    "",
    "../..",
    [],
    {},
    [[]],
    True,
    [1],
    {"a": 1},
    "\0",
    "A" * 5000,
    -(2**40),
]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return ``data`` with some bytes changed, inserted or cut off."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 6])):
        at = rng.randrange(min(len(out), 600 if rng.random() < 0.6 else len(out)) or 1)
        token = rng.choice([*TOKENS, rng.randbytes(1), rng.randbytes(4)])
        how = rng.random()
        out[at : at + (len(token) if how < 0.6 else 0)] = token if how < 0.8 else b""
        if how > 0.95:
            del out[at:]
    return bytes(out)


def mutated_json(data: bytes, rng: random.Random) -> bytes:
    """Return a JSON document with one value changed or removed."""
    if rng.random() < 0.3:
        return mutated(data, rng)
    document = place = json.loads(data)
    while True:
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
        if isinstance(place[key], (dict, list)) and place[key] and rng.random() < 0.7:
            place = place[key]
            continue
        if rng.random() < 0.15:
            del place[key]
        else:
            place[key] = rng.choice(VALUES)
        return json.dumps(document).encode()


def _restored(path: Path) -> None:
    out = path.parent / "restored.ome.zarr"
    source = swin2sr_ops.open_source(path)
    if source.info.nbytes < 100_000:
        swin2sr_ops.restore_image(path, out, model="nano-x2-gray", range=(0, 255))


def _listed(path: Path) -> None:
    collect([], str(path.parent / "out"), list_files=[str(path)])


def _model(path: Path) -> None:
    load_network(resolve_spec(str(path), value_range=1.0, window=8))


KINDS: dict[str, Callable[[Path], object]] = {
    "a.tif": _restored, "deflate.tif": _restored, "s.ome.tif": _restored, "p.png": _restored, "p.jpg": _restored,
    "v2.zarr": _restored, "v3.zarr": _restored, "r.toml": Recipe.read, "l.txt": _listed, "hf": _model,
}  # fmt: skip


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from safetensors.torch import load_file, save_file

    from swin2sr_ops.weights.catalogue import MODELS_FOLDER

    folder, rng = tmp_path_factory.mktemp("seeds"), np.random.default_rng(0)
    plane = rng.integers(0, 255, (24, 20), "u1")
    tifffile.imwrite(folder / "a.tif", plane.astype("u2"))
    tifffile.imwrite(folder / "deflate.tif", plane, tile=(16, 16), compression="zlib")
    tifffile.imwrite(folder / "s.ome.tif", np.stack([plane, plane]), metadata={"axes": "ZYX", "PhysicalSizeX": 0.1})
    Image.fromarray(plane).save(folder / "p.png")
    Image.fromarray(plane).save(folder / "p.jpg")
    zarr.create_array(folder / "v3.zarr", data=plane, chunks=(16, 16))
    zarr.create_array(folder / "v2.zarr", data=plane, chunks=(16, 16), zarr_format=2)
    shutil.copy(min(RECIPES.glob("*.toml")), folder / "r.toml")
    (folder / "l.txt").write_text(f"# files\n{folder}/a.tif\n../seeds/p.png\nsample:cells\n")
    (folder / "hf").mkdir()
    save_file(load_file(MODELS_FOLDER / "nano-x2-gray.safetensors"), folder / "hf" / "a.safetensors")
    config = {"model_type": "swin2sr", "upscale": 2, "num_channels": 1, "embed_dim": 24, "depths": [2, 2]}
    config |= {"num_heads": [2, 2], "window_size": 8, "img_range": 1.0, "resi_connection": "1conv"}
    (folder / "hf" / "config.json").write_text(json.dumps(config))
    index = {"weight_map": dict.fromkeys("abc", "a.safetensors")}
    (folder / "hf" / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def _case(seed: Path, to: Path, rng: random.Random) -> Path:
    path = to / seed.name
    if seed.is_file():
        path.write_bytes(mutated(seed.read_bytes(), rng))
        return path
    shutil.copytree(seed, path)
    documents = [f for f in path.rglob("*") if f.name.endswith(("json", ".zarray"))]
    file = rng.choice(sorted(documents))
    file.write_bytes(mutated_json(file.read_bytes(), rng))
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_mutated_input_is_a_sentence(seeds: Path, tmp_path: Path, kind: str) -> None:
    rng = random.Random(f"{SEED}-{kind}")
    refused = 0
    for number in range(PER_KIND):
        folder = tmp_path / str(number)
        folder.mkdir()
        path, began, before = _case(seeds / kind, folder, rng), time.process_time(), _peak()
        try:
            KINDS[kind](path)
        except Swin2SROpsError:
            refused += 1
        assert time.process_time() - began < 10, number
        assert _peak() - before < 600 << 10, number
    assert refused


def _peak() -> int:
    """Return the most memory that this process has taken, in KiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) >> (10 if sys.platform == "darwin" else 0)


# --- claims ---------------------------------------------------------------------------------------


def _tiff(*tags: tuple[int, int, int], data: bytes = b"") -> bytes:
    entries = b"".join(struct.pack("<HHII", code, kind, 1, value) for code, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


def _ome(path: Path, z: int, tiff_data: str) -> None:
    tifffile.imwrite(path, np.zeros((2, 8, 8), "u1"), metadata={"axes": "ZYX"})
    xml = tifffile.tiffcomment(path).replace('SizeZ="2"', f'SizeZ="{z}"')
    start, end = xml.index("<TiffData"), xml.index("</Pixels>")
    tifffile.tiffcomment(path, xml[:start] + tiff_data + xml[end:])


@pytest.mark.parametrize("tiff_data", ['<TiffData IFD="0" PlaneCount="2000000000"/>', "<TiffData/>"])
def test_an_ome_tiff_that_claims_billions_of_planes(tmp_path: Path, tiff_data: str) -> None:
    path = tmp_path / "a.ome.tif"
    _ome(path, 500_000_000, tiff_data)
    before = _peak()
    with pytest.raises(FormatError, match=r"claims \d+ planes, and its files have \d+ bytes in all"):
        swin2sr_ops.open_source(path)
    assert len(collect([str(path)], str(tmp_path / "out"))) == 1
    assert _peak() - before < 100 << 10


def test_a_small_tiff_that_claims_more_than_codecs_hold(tmp_path: Path) -> None:
    side = 2**31 - 1
    tags = (256, 4, side), (257, 4, side), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1)
    data = zlib.compress(bytes(100))
    path = tmp_path / "a.tif"
    path.write_bytes(_tiff(*tags, (322, 4, 256), (323, 4, 256), (324, 4, 134), (325, 4, len(data)), data=data))
    with pytest.raises(FormatError, match=r"which its .* bytes cannot hold"):
        swin2sr_ops.open_source(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [2**40, 2**40]},
        {"shape": [2**31, 2**31], "chunks": [1, 1]},
        {"shape": [2**63, 2**63]},
        {"chunks": [0, 16]},
    ],
)
def test_a_zarr_that_no_disk_holds(seeds: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    shutil.copytree(seeds / "v2.zarr", tmp_path / "a.zarr")
    document = tmp_path / "a.zarr" / ".zarray"
    document.write_text(json.dumps(json.loads(document.read_text()) | changes))
    with pytest.raises(FormatError, match=r"which no disk holds|cannot be read|is damaged"):
        swin2sr_ops.open_source(tmp_path / "a.zarr")


def test_texts_that_are_no_text(tmp_path: Path) -> None:
    for content in (b"steps = 1 # caf\xe9", b"a = " + b"[" * 100_000):
        (tmp_path / "r.toml").write_bytes(content)
        with pytest.raises(RequestError, match=r"Recipe .* (cannot be read|is not valid TOML)"):
            Recipe.read(tmp_path / "r.toml")
    with pytest.raises(RequestError, match="cannot be read"):
        Recipe.read(tmp_path)
    (tmp_path / "l.txt").write_bytes(b"a\0b.tif\n")
    with pytest.raises(RequestError, match="holds a NUL character"):
        collect([], str(tmp_path / "out"), list_files=[str(tmp_path / "l.txt")])


def test_a_loop_of_links_is_one_failure_of_a_batch(seeds: Path, tmp_path: Path) -> None:
    images = tmp_path / "in"
    images.mkdir()
    shutil.copy(seeds / "a.tif", images / "good.tif")
    (images / "loop.tif").symlink_to(images / "loop.tif")
    report = swin2sr_ops.restore_batch([images], tmp_path / "out", model="nano-x2-gray")
    assert sorted(image.state for image in report.images) == ["done", "failed"]
