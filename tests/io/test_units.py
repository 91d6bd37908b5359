"""Every spelling of a unit that readers meet."""

import pytest

from swin2sr_ops.io.units import OME_SYMBOLS, is_known, unit_name


@pytest.mark.parametrize(
    "given",
    ["um", "µm", "\u03bcm", "micron", "Microns", "micrometer", "micrometers", "Micrometre", "micrometres", "Âµm",
     "Î¼m", "\\u00B5m", "&#181;m", "\ufffdm", "µm/pixel", "microns per pixel", " µm ", "㎛"],
)  # fmt: skip
def test_a_micrometer_has_many_spellings(given: str) -> None:
    assert unit_name(given) == "micrometer"


@pytest.mark.parametrize(
    ("given", "name"),
    [("nm", "nanometer"), ("nanometers", "nanometer"), ("Mm", "megameter"), ("mm", "millimeter"), ("MM", "millimeter"),
     ("inches", "inch"), ("cm", "centimeter"), ("thou", "thou"), ("\u212b", "angstrom"), ("Å", "angstrom"),
     ("sec", "second"), ("pixel", ""), (None, ""), ("Furlong", "furlong")],
)  # fmt: skip
def test_units_have_one_name(given: str | None, name: str) -> None:
    assert unit_name(given) == name
    assert not name or is_known(name) == (name != "furlong")


def test_every_symbol_of_ome_is_read_back() -> None:
    assert {name: unit_name(symbol) for name, symbol in OME_SYMBOLS.items()} == {name: name for name in OME_SYMBOLS}
