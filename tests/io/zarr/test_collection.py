"""Plates, wells, series and trees: their images, and the metadata above restored images."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import zarr

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.io.storage.files import RemoteFiles
from swin2sr_ops.io.zarr.collection import open_collection
from swin2sr_ops.io.zarr.groups import write_metadata
from swin2sr_ops.io.zarr.ngff import ome_attributes
from swin2sr_ops.io.zarr.ome_xml import rescale_ome_xml
from swin2sr_ops.io.zarr.source import open_source
from swin2sr_ops.io.zarr.store import child_names, zarr_root

OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
PLATE = {
    "name": "screen",
    "rows": [{"name": "A"}, {"name": "B"}],
    "columns": [{"name": "01"}, {"name": "02"}, {"name": "03"}],
    "wells": [  # in no order, as converters write them
        {"path": "B/03", "rowIndex": 1, "columnIndex": 2},
        {"path": "A/02", "rowIndex": 0, "columnIndex": 1},
        {"path": "A/01", "rowIndex": 0, "columnIndex": 0},
    ],
    "field_count": 2,
    "acquisitions": [{"id": 7, "name": "first", "maximumfieldcount": 2}],
}
WELL = {"images": [{"path": "0", "acquisition": 7}, {"path": "1", "acquisition": 7}]}
FIELDS = tuple(f"{well}/{field}" for well in ("A/01", "A/02", "B/03") for field in (0, 1))


def group(store, path, attributes, version):
    zarr.open_group(store, path=path, mode="a", zarr_format=3 if version == "0.5" else 2, attributes=attributes)


def ome(content, version):
    """Return ``content`` as NGFF stores it."""
    if version == "0.5":
        return {"ome": {"version": "0.5", **content}}
    return {k: {**v, "version": "0.4"} if isinstance(v, dict) else v for k, v in content.items()}


def image(store, path, version, side=8):
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "yx"]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [0.5, 0.5]}]}]
    multiscale = {"axes": axes, "datasets": datasets, **({} if version == "0.5" else {"version": "0.4"})}
    group(store, path, ome({"multiscales": [multiscale]}, version), version)
    v3 = version == "0.5"
    array = zarr.create_array(
        store,
        name=f"{path}/0",
        shape=(side, side),
        dtype="u1",
        chunks=(8, 8),
        zarr_format=3 if v3 else 2,
        dimension_names=["y", "x"] if v3 else None,
        chunk_key_encoding={"name": "default" if v3 else "v2", "separator": "/"},
    )
    array[...] = np.arange(side * side, dtype="u1").reshape(side, side)


def plate(store, version, prefix="", **extra):
    at = (prefix + "/").lstrip("/")
    group(store, prefix, {**ome({"plate": PLATE}, version), "lab": {"operator": "K."}, **extra}, version)
    for row in PLATE["rows"]:
        group(store, at + row["name"], {"row note": row["name"]}, version)
    for well in PLATE["wells"]:
        group(store, at + well["path"], ome({"well": WELL}, version), version)
    for field in FIELDS:
        image(store, at + field, version)
    return store


def attributes(store, path=""):
    return zarr.open_group(store, path=path, mode="r", use_consolidated=False).attrs.asdict()


def restored(target, paths, version, side=16):
    for path in paths:
        image(str(target), path, version, side)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_plate(tmp_path, version):
    uri = plate(str(tmp_path / "p.zarr"), version)
    found = open_collection(uri)
    assert (found.kind, found.version, found.images, found.missing) == ("plate", version, FIELDS, ())
    assert open_source(uri, array=found.images[3]).info.shape == (8, 8)
    well = open_collection(f"{uri}/A/02")
    assert (well.kind, well.version, well.images) == ("well", version, ("0", "1"))
    assert open_collection(f"{uri}/A/02/1") is None
    assert open_collection(f"{uri}/A/02/1/0") is None


def test_a_plate_behind_a_url_and_in_a_zip(tmp_path):
    url = plate("memory://collections/p.zarr", "0.5")
    assert open_collection(url, storage_options={}).images == FIELDS
    folder = Path(plate(str(tmp_path / "p.zarr"), "0.5"))
    for name, top in (("flat.zarr.zip", ""), ("nested.ozx", "p.zarr/")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for key, data in contents(folder).items():
                archive.writestr(top + key, data)
        assert open_collection(str(tmp_path / name)).images == FIELDS
        pixels = open_source(str(tmp_path / name), array="B/03/1").read((slice(0, 8), slice(0, 8)))
        assert pixels[7, 7] == 63


def test_listed_images_that_do_not_exist(tmp_path):
    uri = plate(str(tmp_path / "p.zarr"), "0.5")
    (tmp_path / "p.zarr/A/01/1/zarr.json").unlink()
    (tmp_path / "p.zarr/A/01/0/0/zarr.json").write_text("{")
    (tmp_path / "p.zarr/A/02/zarr.json").unlink()
    (tmp_path / "p.zarr/B/03/1/0/zarr.json").unlink()
    found = open_collection(uri)
    assert found.images == ("B/03/0",)
    reasons = dict(found.missing)
    assert set(reasons) == {"A/02", "A/01/0", "A/01/1", "B/03/1"}
    assert "does not exist" in reasons["A/02"]
    assert "'0'" in reasons["B/03/1"]
    assert all(path in reason for path, reason in reasons.items())


def test_zarrs_that_are_not_collections(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    assert open_collection(str(tmp_path / "notes.txt")) is None
    assert open_collection(str(tmp_path)) is None
    assert open_collection("https://example.invalid/image.tif") is None
    with pytest.raises(FormatError, match="no file or folder"):
        open_collection(str(tmp_path / "gone.zarr"))
    (tmp_path / "bad.zarr").mkdir()
    (tmp_path / "bad.zarr" / "zarr.json").write_text("{")
    with pytest.raises(FormatError, match="metadata"):
        open_collection(str(tmp_path / "bad.zarr"))
    group(str(tmp_path / "odd.zarr"), "", {"ome": {"version": "0.5", "plate": {"wells": 3}}}, "0.5")
    with pytest.raises(FormatError, match=r"odd\.zarr"):
        open_collection(str(tmp_path / "odd.zarr"))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("written", ["0.4", "0.5"])
def test_a_plate_comes_out_as_a_plate(tmp_path, version, written):
    yaozarrs = pytest.importorskip("yaozarrs")
    source = open_collection(plate(str(tmp_path / "p.zarr"), version, _creator={"name": "x"}))
    target = tmp_path / "out.zarr"
    restored(target, FIELDS, written)
    write_metadata(str(target), source, FIELDS, scale=2, version=written, provenance={"model": "m", "nan": np.nan})
    yaozarrs.validate_zarr_store(str(target))
    out = open_collection(str(target))
    assert (out.kind, out.version, out.images, out.missing) == ("plate", written, FIELDS, ())
    given = attributes(str(target))
    assert given["swin2sr_ops"] == {"model": "m", "nan": "nan", "images": list(FIELDS)}
    assert given["lab"] == {"operator": "K."}
    assert "_creator" not in given
    assert attributes(str(target), "A") == {"row note": "A"}
    described = dict(ome_attributes(given)["plate"])
    assert described.pop("version", None) == (None if written == "0.5" else "0.4")
    assert described == PLATE


def test_only_what_was_restored_is_listed(tmp_path):
    yaozarrs = pytest.importorskip("yaozarrs")
    source = open_collection(plate(str(tmp_path / "p.zarr"), "0.4"))
    target = tmp_path / "out.zarr"
    done = ["B/03/1", "A/01/0", "A/01/1"]
    restored(target, done, "0.5")
    write_metadata(target, source, done, version="0.5", provenance={})
    yaozarrs.validate_zarr_store(str(target))
    out = ome_attributes(attributes(str(target)))["plate"]
    assert [well["path"] for well in out["wells"]] == ["B/03", "A/01"]
    assert (out["rows"], out["columns"], out["acquisitions"]) == tuple(
        PLATE[key] for key in ("rows", "columns", "acquisitions")
    )
    assert ome_attributes(attributes(str(target), "B/03"))["well"]["images"] == [{"path": "1", "acquisition": 7}]
    assert open_collection(str(target)).images == ("A/01/0", "A/01/1", "B/03/1")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_root_is_written_last_and_twice_the_same(tmp_path, version, monkeypatch):
    source = open_collection(plate(str(tmp_path / "p.zarr"), "0.5"))
    target = tmp_path / "out.zarr"
    restored(target, FIELDS, version)
    written = []
    from swin2sr_ops.io.storage.files import LocalFiles

    plain = LocalFiles.write
    monkeypatch.setattr(LocalFiles, "write", lambda self, key, data: (written.append(key), plain(self, key, data))[1])
    write_metadata(str(target), source, FIELDS, version=version, provenance={"a": 1})
    assert written[-1] == ("zarr.json" if version == "0.5" else ".zgroup")
    assert written.index(f"A/01/{written[-1]}") < written.index(f"A/{written[-1]}")
    before = contents(target)
    write_metadata(str(target), source, FIELDS, version=version, provenance={"a": 1})
    assert contents(target) == before


def test_metadata_go_to_urls(tmp_path):
    source = open_collection(plate(str(tmp_path / "p.zarr"), "0.5"))
    url = "memory://collections/out.zarr"
    restored(url, FIELDS, "0.5")
    write_metadata(RemoteFiles(url), source, FIELDS, provenance={})
    assert open_collection(url).images == FIELDS


def test_requests_that_do_not_fit(tmp_path):
    source = open_collection(plate(str(tmp_path / "p.zarr"), "0.5"))
    with pytest.raises(RequestError, match="'Z/9/0' is not one of"):
        write_metadata(str(tmp_path / "o.zarr"), source, ["Z/9/0"])
    with pytest.raises(RequestError, match="none was restored"):
        write_metadata(str(tmp_path / "o.zarr"), source, [])
    with pytest.raises(RequestError, match=r"0\.5 or 0\.4"):
        write_metadata(str(tmp_path / "o.zarr"), source, FIELDS, version="0.1")
    assert not (tmp_path / "o.zarr").exists()


def test_old_plates_have_positions_in_their_paths(tmp_path):
    path = str(tmp_path / "p.zarr")
    group(path, "", {"plate": {"wells": [{"path": "A/1"}, {"path": "B/1"}]}}, "0.4")
    for well in ("A/1", "B/1"):
        group(path, well, {"well": {"images": [{"path": "0"}]}}, "0.4")
        image(path, f"{well}/0", "0.4")
    target = tmp_path / "out.zarr"
    restored(target, ["B/1/0"], "0.5")
    write_metadata(str(target), open_collection(path), ["B/1/0"], provenance={})
    described = attributes(str(target))["ome"]["plate"]
    assert described["wells"] == [{"rowIndex": 1, "columnIndex": 0, "path": "B/1"}]
    assert (described["rows"], described["columns"]) == ([{"name": "A"}, {"name": "B"}], [{"name": "1"}])


XML = f"""<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="{OME}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="{OME} {OME}/ome.xsd">
  <Folder ID="Folder:0"><ImageRef ID="Image:0"/><ImageRef ID="Image:1"/></Folder>
  <Image ID="Image:0" Name="first"><Pixels ID="Pixels:0" SizeX="8" SizeY="8" SizeZ="3" PhysicalSizeX="0.5"
    PhysicalSizeY="0.25" PhysicalSizeZ="2" Type="uint8"><MetadataOnly/><Plane TheC="0" TheT="0" TheZ="0"
    PositionX="100.5"/></Pixels></Image>
  <Image ID="Image:1" Name="sec&#246;nd"><Pixels ID="Pixels:1" SizeX="8" SizeY="8" Type="uint8"/></Image>
  <ROI ID="ROI:0"><Union><Rectangle ID="Shape:0" X="1" Y="2" Width="3" Height="4.5"/>
    <Polygon ID="Shape:1" Points="0,1 2.5,3"><Transform A00="1" A01="0" A02="5" A10="0" A11="1" A12="6"/></Polygon>
  </Union></ROI>
</OME>"""


def series(path, version, listed=("b", "a"), numbered=()):
    names = listed or numbered
    place = {"bioformats2raw.layout": 3}
    group(path, "", ome(place, version), version)
    group(path, "OME", ome({"series": list(listed)}, version) if listed else {}, version)
    Path(path, "OME", "METADATA.ome.xml").write_text(XML, encoding="utf-8")
    for name in names:
        image(path, name, version)
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_series_keeps_its_order_and_its_xml(tmp_path, version):
    yaozarrs = pytest.importorskip("yaozarrs")
    source = open_collection(series(str(tmp_path / "s.zarr"), version))
    assert (source.kind, source.version, source.images) == ("series", version, ("b", "a"))
    target = tmp_path / "out.zarr"
    restored(target, source.images, version)
    write_metadata(str(target), source, source.images, scale=2, version=version, provenance={})
    if version == "0.5":
        yaozarrs.validate_zarr_store(str(target))
    else:  # its walk of stores knows no series before 0.5, its models do
        assert yaozarrs.validate_ome_object(attributes(str(target))).bioformats2raw_layout == 3
        assert yaozarrs.validate_ome_object(attributes(str(target), "OME")).series == ["b", "a"]
    assert open_collection(str(target)).images == ("b", "a")
    xml = ElementTree.parse(target / "OME" / "METADATA.ome.xml").getroot()
    pixels = xml.findall(f".//{{{OME}}}Pixels")
    assert [p.get("SizeX") for p in pixels] == ["16", "16"]
    assert (pixels[0].get("PhysicalSizeX"), pixels[0].get("PhysicalSizeY"), pixels[0].get("PhysicalSizeZ")) == (
        "0.25", "0.125", "2",
    )  # fmt: skip
    assert xml.find(f".//{{{OME}}}Plane").get("PositionX") == "100.5"


def test_a_part_of_a_series(tmp_path):
    source = open_collection(series(str(tmp_path / "s.zarr"), "0.4", (), ("0", "1")))
    assert source.images == ("0", "1")
    target = tmp_path / "out.zarr"
    restored(target, ["1"], "0.5")
    write_metadata(str(target), source, ["1"], scale=2, provenance={})
    assert attributes(str(target), "OME")["ome"]["series"] == ["1"]
    xml = ElementTree.parse(target / "OME" / "METADATA.ome.xml").getroot()
    assert [i.get("Name") for i in xml.findall(f"{{{OME}}}Image")] == ["secönd"]
    assert [r.get("ID") for r in xml.findall(f".//{{{OME}}}ImageRef")] == ["Image:1"]


def test_xml_keeps_its_namespaces_and_moves_regions():
    done = rescale_ome_xml(XML.encode(), 4)
    assert b"ns0:" not in done
    root = ElementTree.fromstring(done)
    rectangle = root.find(f".//{{{OME}}}Rectangle")
    assert [float(rectangle.get(k)) for k in ("X", "Y", "Width", "Height")] == [4, 8, 12, 18]
    assert root.find(f".//{{{OME}}}Polygon").get("Points") == "0.0,4.0 10.0,12.0"
    transform = root.find(f".//{{{OME}}}Transform")
    assert [float(transform.get(k)) for k in ("A00", "A02", "A11", "A12")] == [1, 20, 1, 24]


def test_broken_xml_is_left_out(tmp_path):
    path = series(str(tmp_path / "s.zarr"), "0.5")
    Path(path, "OME", "METADATA.ome.xml").write_text("<OME>")
    target = tmp_path / "out.zarr"
    restored(target, ["b", "a"], "0.5")
    with pytest.warns(UserWarning, match="broken"):
        write_metadata(str(target), open_collection(path), ["b", "a"], provenance={})
    assert not (target / "OME" / "METADATA.ome.xml").exists()
    assert open_collection(str(target)).images == ("b", "a")


def tree(path, version="0.5"):
    zarr_format = 3 if version == "0.5" else 2
    group(path, "", {"project": "p"}, version)
    for name in ("day2", "day10", "day10/deep", "day2/labels", "tables"):
        group(path, name, {"name": name}, version)
    for name in ("day2/stack", "day10/deep/plane", "day2/labels/mask", "tables/t"):
        zarr.create_array(path, name=name, shape=(3, 8, 8)[-2:], dtype="u1", zarr_format=zarr_format)
    for name, shape, dtype in (("day2/x", (8,), "f8"), ("day2/six", (1,) * 6, "u1"), ("day2/when", (2, 2), "M8[s]")):
        zarr.create_array(path, name=name, shape=shape, dtype=dtype, zarr_format=zarr_format)
    image(path, "day10/cells", version)
    group(path, "day10/cells/labels", ome({"labels": ["nuclei"]}, version), version)
    image(path, "day10/cells/labels/nuclei", version)
    plate(path, version, prefix="day2/screen")
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_tree(tmp_path, version):
    path = tree(str(tmp_path / "t.zarr"), version)
    (tmp_path / "t.zarr" / "notes.txt").write_text("no node")
    found = open_collection(path)
    screen = tuple(f"day2/screen/{field}" for field in FIELDS)
    assert found.images == (*screen, "day2/stack", "day10/cells", "day10/deep/plane")
    assert (found.kind, found.missing) == ("tree", ())
    target = tmp_path / "out.zarr"
    restored(target, found.images, "0.5")
    write_metadata(str(target), found, found.images, provenance={"m": 1})
    assert attributes(str(target)) == {"project": "p", "swin2sr_ops": {"m": 1, "images": list(found.images)}}
    assert attributes(str(target), "day10/deep") == {"name": "day10/deep"}
    out = open_collection(str(target))
    assert (out.images, out.missing) == (found.images, ())
    assert attributes(str(target), "day2/screen")["ome"]["plate"] == PLATE


def test_a_broken_branch_affects_no_other(tmp_path):
    path = tree(str(tmp_path / "t.zarr"))
    (tmp_path / "t.zarr/day10/cells/zarr.json").write_text("{")
    group(path, "day2/screen", {"ome": {"version": "0.5", "plate": {}}}, "0.5")
    zarr.open_group(path, path="day2/screen", mode="r+").attrs.put({"ome": {"version": "0.5", "plate": {}}})
    found = open_collection(path)
    assert found.images == ("day2/stack", "day10/deep/plane")
    assert {path for path, _ in found.missing} == {"day10/cells", "day2/screen"}


def test_stale_consolidated_metadata_are_ignored(tmp_path):
    path = tree(str(tmp_path / "t.zarr"), "0.4")
    zarr.consolidate_metadata(path, zarr_format=2)
    before = open_collection(path).images
    zarr.create_array(path, name="day10/new", shape=(9, 9), dtype="u1", zarr_format=2)
    assert set(open_collection(path).images) - set(before) == {"day10/new"}


def test_a_server_that_lists_nothing(tmp_path, monkeypatch):
    path = tree(str(tmp_path / "t.zarr"))
    zarr.consolidate_metadata(path)
    expected = open_collection(path).images

    async def nothing(self, prefix):
        raise NotImplementedError
        yield

    monkeypatch.setattr("zarr.storage.LocalStore.list_dir", nothing)
    assert open_collection(path).images == expected


# Real stores.


def test_shared_plates(shared, tmp_path):
    yaozarrs = pytest.importorskip("yaozarrs")
    for version in ("0.4", "0.5"):
        found = open_collection(str(shared / f"data/formats/generated/plate_v0{version[-1]}.ome.zarr"))
        wells = ("A/1", "A/2", "B/1", "B/3")
        assert found.images == tuple(f"{well}/{field}" for well in wells for field in (0, 1))
        target = tmp_path / f"{version}.zarr"
        restored(target, found.images, version)
        write_metadata(str(target), found, found.images, version=version, provenance={})
        yaozarrs.validate_zarr_store(str(target))


@pytest.mark.filterwarnings("ignore")
def test_shared_broken_plate(shared, tmp_path):
    found = open_collection(str(shared / "data/formats/ome-zarr/broken/broken/broken_v05.ome.zarr"))
    assert found.images == ("A/1/1", "A/3/0", "A/3/1", "B/1/1", "B/2/1", "B/3/0", "C/1/0", "C/2/1")
    assert {path for path, _ in found.missing} == {"A/2", "C/3", "A/1/0", "B/1/0", "B/2/0", "B/3/1", "C/1/1", "C/2/0"}
    target = tmp_path / "out.zarr"
    restored(target, found.images, "0.5")
    write_metadata(str(target), found, found.images, provenance={})
    assert open_collection(str(target)).images == found.images


def test_shared_series_and_metadata_without_pixels(shared):
    folder = shared / "data/formats/ome-zarr"
    assert open_collection(str(folder / "bioformats2raw.zarr")).images == ("0",)
    for name, kind in (("190129", "plate"), ("Target-TS.ome", "plate"), ("L3_nsybG4xcherryCAAXmerged.ims", "series")):
        found = open_collection(str(folder / "metadata_only_v05" / f"{name}.zarr"))
        wells = json.loads((folder / "metadata_only_v05" / f"{name}.zarr" / "zarr.json").read_text())
        promised = wells["attributes"]["ome"].get("plate", {}).get("wells", [])
        assert (found.kind, found.images, len(found.missing)) == (kind, (), len(promised))


def test_names_that_a_web_server_encodes(tmp_path, monkeypatch):
    """A listing of http has links: `a%2Bb` is the group `a+b`."""
    pytest.importorskip("aiohttp")
    import functools
    import http.server
    import threading

    for name in ("a+b", "cell (1)", "100%", "µ"):
        group = zarr.open_group(tmp_path / "tree.zarr" / name, mode="w", zarr_format=2)
        group.create_array("0", data=np.ones((8, 8), "u1"))
    zarr.open_group(tmp_path / "tree.zarr", mode="a", zarr_format=2)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = zarr_root(f"http://127.0.0.1:{server.server_port}/tree.zarr")
        assert set(child_names(root, "")) == {"a+b", "cell (1)", "100%", "µ"}
        server.shutdown()


@pytest.mark.parametrize("name", [".swin2sr_ops/1", "A/.swin2sr_ops"])
def test_a_well_in_the_folder_of_a_run(name, tmp_path):
    """Runs use this folder for their records, and remove it from the output."""
    path = str(tmp_path / "p.zarr")
    group(path, "", {"plate": {"wells": [{"path": "A/1"}, {"path": name}]}}, "0.4")
    for well in ("A/1", name):
        group(path, well, {"well": {"images": [{"path": "0"}]}}, "0.4")
        image(path, f"{well}/0", "0.4")
    found = open_collection(path)
    assert found.images == ("A/1/0",)
    ((missing, reason),) = found.missing
    assert missing == f"{name}/0"
    assert "reserved for the records" in reason
