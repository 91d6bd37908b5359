"""The documentation site builds without a warning, and has every public name, every option and every linked page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import swin2sr_ops
from swin2sr_ops.cli.parsers import build_parser

for library in ("mkdocs", "mkdocstrings", "material"):
    pytest.importorskip(library, reason="the extra `docs` builds the site")

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HOME = PROJECT["project"]["urls"]["Homepage"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as ``.ci/run docs`` builds it."""
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place


def test_every_public_name_has_an_entry(site: Path) -> None:
    page = (site / "api" / "index.html").read_text(encoding="utf-8")
    for name in set(swin2sr_ops.__all__) - {"__version__"}:
        assert f'id="swin2sr_ops.{name}"' in page, f"{name} is missing from API of docs/site_hooks.py"


def test_every_option_is_on_the_page(site: Path) -> None:
    page = (site / "command-line" / "index.html").read_text(encoding="utf-8")
    (commands,) = (action for action in build_parser()._actions if action.dest == "command")
    assert commands.choices
    for name, parser in commands.choices.items():
        assert f'id="{name}"' in page
        for action in parser._actions:
            for option in action.option_strings:
                assert action.dest == "help" or option in page


def test_links_on_an_index_lead_to_pages_of_the_site(site: Path) -> None:
    """Follow the links of the README in the metadata."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for rule in PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    found = re.findall(rf"\]\({re.escape(HOME)}/([^)#]*)", text)
    assert len(found) > 15
    for target in found:
        page = site / target
        assert page.is_file() or (page / "index.html").is_file(), f"the README leads to {target}"
    assert (site / PROJECT["project"]["urls"]["Changelog"].removeprefix(f"{HOME}/") / "index.html").is_file()


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*?src="([^"]+)"|<link rel="stylesheet" href="([^"]+)"', text)
        assert not [one for pair in loaded for one in pair if one.startswith(("http", "//"))], page


def test_llms_txt_lists_every_page(site: Path) -> None:
    text = (site / "llms.txt").read_text(encoding="utf-8")
    pages = {p.parent.relative_to(site).as_posix() for p in site.rglob("*/index.html")}
    listed = set(re.findall(rf"{re.escape(HOME)}/([\w/-]+)/\)", text))
    assert listed == pages
    assert all(re.search(r": \S", line) for line in text.splitlines() if line.startswith("- "))
