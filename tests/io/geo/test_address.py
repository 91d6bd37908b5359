"""Addresses that are not paths: the file inside, the name of the image, and the address in another folder."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from swin2sr_ops.io.geo.address import absolute_address, file_of, is_address, name_of, subdataset

ADDRESSES = {
    'NETCDF:"sea.nc":sst': ("sea.nc", "sea_sst"),
    "netcdf:sea.nc:sst": ("sea.nc", "sea_sst"),
    "HDF5:sea.nc://group/ice": ("sea.nc", "sea_group_ice"),
    "GTIFF_DIR:2:sea.nc": ("sea.nc", "sea"),
    "/vsizip/sea.nc/in/a.tif": ("sea.nc", "a"),
    "/vsizip/{sea.nc}/in/a.tif": ("sea.nc", "a"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "sea.nc").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_file_and_the_name_in_an_address(folder, address):
    path, name = ADDRESSES[address]
    assert is_address(address)
    assert file_of(address) == Path(path)
    assert name_of(address) == name


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_understood_in_another_folder(folder, monkeypatch, address):
    found = absolute_address(address)
    monkeypatch.chdir("/")
    assert file_of(found) == folder / "sea.nc"
    assert absolute_address(found) == found


def test_a_file_with_colons_in_its_name_is_not_an_address(folder):
    name = "sea_12:00:00.nc"
    Path(name).touch()
    assert not is_address(name)
    assert file_of(name) == Path(name)


@pytest.mark.parametrize("uri", ["https://host/a.tif", "sample:cells", "C:\\a.tif", "a.tif", "s3://bucket/a.tif"])
def test_addresses_of_other_readers(uri):
    assert not is_address(uri)


def test_a_query_is_not_part_of_a_name():
    assert name_of("https://host/tiles/scene.tif?se=2026&sig=a.b/c") == "scene"
    assert name_of("/vsicurl/https://host/scene.tif?sig=a.b") == "scene"


def test_a_path_with_colons_is_quoted_in_its_subdatasets():
    assert subdataset("netcdf:a:b.nc:sst", "a:b.nc") == 'netcdf:"a:b.nc":sst'
    assert subdataset("netcdf:a.nc:sst", "a.nc") == "netcdf:a.nc:sst"


def test_variables_of_netcdf_are_read_and_listed(folder, capsys):
    netcdf = pytest.importorskip("netCDF4", reason="writes the file")
    pytest.importorskip("rasterio", reason="needs swin2sr-ops[geo]")
    import numpy as np

    from swin2sr_ops.batch.collect import collect
    from swin2sr_ops.cli import main
    from swin2sr_ops.io.geo.source import open_source

    name = "warm_12:00:00.nc"
    with netcdf.Dataset(name, "w") as file:
        file.createDimension("y", 6)
        file.createDimension("x", 8)
        for k, variable in enumerate(("sst", "ice")):
            file.createVariable(variable, "i2", ("y", "x"))[:] = np.full((6, 8), k)
    with pytest.warns(UserWarning, match=r"contains 2 rasters; the first is used: .*\(0 is sst, 1 is ice\)"):
        open_source(name)
    assert open_source(name, series=0).read((slice(0, 6), slice(0, 8))).max() == 0
    ice = open_source(f'NETCDF:"{name}":ice')
    assert ice.info.name == "warm_12:00:00_ice"
    assert pickle.loads(pickle.dumps(ice)).read((slice(0, 6), slice(0, 8))).min() == 1
    (entry,) = collect([name], "out.tif")
    assert "contains 2 rasters; the first is used" in entry.note
    assert "0 is sst, 1 is ice" in entry.note
    for made in (entry, *collect([name], "out")):
        assert made.options == {"series": 0}
        assert "contains 2 rasters; the first is used" in made.note
    assert main(["info", name, "--series", "1"]) == 0
    assert "sst, ice" in capsys.readouterr().out
