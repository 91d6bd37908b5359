"""Broken documents beside a series are left out with a reason and never end the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swin2sr_ops.errors import FormatError
from swin2sr_ops.io.storage.remote import StorageError
from swin2sr_ops.io.zarr import collection as collections, groups
from swin2sr_ops.io.zarr.collection import open_collection
from swin2sr_ops.io.zarr.groups import write_metadata
from swin2sr_ops.io.zarr.ome_xml import rescale_ome_xml
from tests.io.zarr.test_collection import XML, restored, series

BROKEN = {
    "no XML": b"not XML",
    "empty": b"",
    "cut short": XML.encode()[:200],
    "zeros": bytes(100),
    "an unknown encoding": XML.encode().replace(b"UTF-8", b"klingon-8"),
    "another encoding": XML.encode().replace(b"<OME", b"\xff\xfe\x00<OME", 1),
    "no number": XML.encode().replace(b'SizeX="', b'SizeX="a few '),
    "no float": XML.encode().replace(b'PhysicalSizeX="', b'PhysicalSizeX="about '),
    "a size without end": XML.encode().replace(b'SizeX="', b'SizeX="' + b"9" * 5000),
    "a prefix that is no text": XML.encode().replace(b"<OME ", b'<OME xmlns:\xff="http://x" ', 1),
    "nested without end": b"<OME>" + b"<a>" * 100_000,
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_xml_is_a_reason(kind: str) -> None:
    with pytest.raises(FormatError, match=r"^The OME-XML beside the images is broken"):
        rescale_ome_xml(BROKEN[kind], 2, [0])


@pytest.mark.parametrize("kind", ["no number", "an unknown encoding", "closed"])
def test_a_series_is_finished_without_it(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = series(str(tmp_path / "in.zarr"), "0.5"), tmp_path / "out.zarr"
    place = Path(source, "OME", "METADATA.ome.xml")
    place.write_bytes(BROKEN.get(kind, b""))
    if kind == "closed":
        read = groups.read_key

        def closed(root: Any, key: str) -> bytes | None:
            if key.endswith(".xml"):
                raise PermissionError(13, "Permission denied", key)
            return read(root, key)

        monkeypatch.setattr(groups, "read_key", closed)
    collection = open_collection(str(source))
    assert collection is not None
    restored(target, collection.images, "0.5")
    with pytest.warns(UserWarning, match="The output goes without it"):
        write_metadata(target, collection, collection.images, scale=2, provenance={})
    assert (target / "zarr.json").is_file()
    assert not (target / "OME" / "METADATA.ome.xml").exists()


GROUPS = {
    "no JSON": b"{",
    "empty": b"",
    "zeros": bytes(50),
    "no object": b"[]",
    "null": b"null",
    "no attributes": b'{"zarr_format": 3, "node_type": "group", "attributes": []}',
    "an array": b'{"zarr_format": 3, "node_type": "array"}',
    "an unknown format": b'{"zarr_format": 9, "node_type": "group", "attributes": {}}',
    "nested without end": b"[" * 100_000,
    "no text": b'{"a": "\xff"}',
    "a list that is a number": b'{"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"series": 5}}}',
    "a list of no names": b'{"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"series": [null, {}]}}}',
}


@pytest.mark.parametrize("kind", GROUPS)
def test_a_series_is_finished_with_a_broken_group_beside_it(kind: str, tmp_path: Path) -> None:
    source, target = series(str(tmp_path / "in.zarr"), "0.5"), tmp_path / "out.zarr"
    Path(source, "OME", "zarr.json").write_bytes(GROUPS[kind])
    with pytest.warns(UserWarning, match="Its images are listed by their names"):
        collection = open_collection(str(source))
    assert collection is not None
    assert sorted(collection.images) == ["a", "b"]
    restored(target, collection.images, "0.5")
    write_metadata(target, collection, collection.images, scale=2, provenance={})
    again = open_collection(str(target))
    assert again is not None
    assert sorted(again.images) == ["a", "b"]


def test_a_server_that_fails_is_no_broken_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else another order of images would depend on a bad moment."""
    source = series(str(tmp_path / "in.zarr"), "0.5")
    opened = collections.open_node

    def failing(root: Any, path: str) -> Any:
        if path == "OME":
            raise StorageError("the server does not answer within 30 s")
        return opened(root, path)

    monkeypatch.setattr(collections, "open_node", failing)
    with pytest.raises(FormatError, match="does not answer"):
        open_collection(str(source))
