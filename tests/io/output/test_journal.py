"""Markers of finished regions: what counts, what does not, and what they say about their input."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from swin2sr_ops.io.output.journal import OWN_FOLDER, Journal, Mark, made_of
from swin2sr_ops.io.storage.files import Files, files_at

LEFT = (slice(0, 32), slice(0, 64))  # two write units
RIGHT = (slice(0, 32), slice(64, 90))  # the last unit of the row is cut by the image's end


@pytest.fixture(params=["local", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return files_at(str(tmp_path / "out") if request.param == "local" else f"memory://{tmp_path.name}/out")


def journal(files: Files) -> Journal:
    return Journal(files, {"0": (3, 3), "labels/a/0": (1, 1)}, {"0": (32, 32), "labels/a/0": (90, 90)})


def chunk(files: Files, name: str, data: bytes = b"pixels") -> Mark:
    files.write(name, data)
    return name, len(data), zlib.crc32(data)


def test_a_region_counts_once_its_units_are_written(files: Files) -> None:
    first = journal(files)
    assert not first.begun()
    first.add("0", LEFT, [chunk(files, "0/c/0/0"), chunk(files, "0/c/0/1", b"more")])
    assert first.begun()
    assert first.noted("0", LEFT)
    assert not first.has("0", LEFT)  # only what `load` found counts as an earlier run's
    later = journal(files)
    later.load()
    assert later.has("0", LEFT)
    assert later.has("0", (slice(0, 32), slice(32, 64)))  # a part of it
    assert not later.has("0", RIGHT)
    assert not later.has("0", (slice(0, 32), slice(0, 90)))
    assert later.vouched() == {"0/c/0/0", "0/c/0/1"}
    assert list(later.regions()) == [("0", LEFT)]


@pytest.mark.parametrize("damage", ["torn", "other bytes", "missing", "stored though it was not"])
def test_a_marker_of_damaged_chunks_is_removed(files: Files, damage: str) -> None:
    marks = [chunk(files, "0/c/0/0"), ("0/c/0/1", -1, 0)]  # the second has only the fill value: it is not stored
    journal(files).add("0", LEFT, marks)
    match damage:
        case "torn":
            files.write("0/c/0/0", b"pix")
        case "other bytes":
            files.write("0/c/0/0", b"PIXELS")
        case "missing":
            files.remove("0/c/0/0")
        case _:
            files.write("0/c/0/1", b"x")
    later = journal(files)
    later.load()
    assert not later.has("0", LEFT)
    assert not later.noted("0", LEFT)
    assert later.vouched() == set()


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"chunks": 1}', b'{"chunks": [["0/c/0/0"]]}'])
def test_a_torn_marker_is_removed(files: Files, text: bytes) -> None:
    journal(files).add("0", LEFT, [chunk(files, "0/c/0/0")])
    (key,) = files.listing(f"{OWN_FOLDER}/done")
    files.write(key, text)
    later = journal(files)
    assert later.marks("0", LEFT) is None
    assert later.origin("0", LEFT) is None
    assert later.origins() == []
    later.load()
    assert not later.begun()


def test_arrays_have_regions_of_their_own(files: Files) -> None:
    first = journal(files)
    first.add("labels/a/0", (slice(0, 90), slice(0, 90)), [chunk(files, "labels/a/0/c/0/0")])
    later = journal(files)
    later.load()
    assert later.has("labels/a/0", (slice(0, 90), slice(0, 90)))
    assert not later.has("0", LEFT)
    later.remove("labels/a/0", (slice(0, 90), slice(0, 90)))
    assert not later.begun()
    assert files.read("labels/a/0/c/0/0") is not None  # chunks stay


def test_another_process_finishes_a_region(files: Files) -> None:
    one = journal(files)
    one.load()
    one.took("0", RIGHT)
    assert one.has("0", RIGHT)
    assert not one.has("0", LEFT)


def test_regions_say_what_they_are_made_of(files: Files) -> None:
    one = journal(files)
    with made_of([[[0, 40]], 7]):
        one.add("0", LEFT, [])
        one.add("0", RIGHT, [])
    one.add("0", (slice(32, 64), slice(0, 64)), [])
    assert one.origins() == [[[[0, 40]], 7]]  # each once
    assert one.origin("0", LEFT) == [[[0, 40]], 7]
    assert one.origin("0", (slice(32, 64), slice(0, 64))) is None
