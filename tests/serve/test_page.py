"""The page in a real browser: it shows the result beside the source, and its console stays empty."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from swin2sr_ops.request import RestoreRequest
from tests import docs_files

running = pytest.importorskip("tests.serve.running", exc_type=ImportError).running
playwright = pytest.importorskip("playwright.sync_api")
BROWSER = next((path for name in ("chromium", "google-chrome", "chrome") if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")

#: Everything that is visible is there, and painted.
_SHOWN = "info && !drawing && wantedTiles().every(name => tiles.get(name)?.state === 'there')"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as found:
        opened = found.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page whose console errors fail the test."""
    opened = browser.new_page(viewport={"width": 1200, "height": 760})
    opened.set_default_timeout(120_000)  # a browser beside other tests on a small machine
    trouble: list[str] = []
    opened.on("console", lambda line: trouble.append(line.text) if line.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    yield opened
    opened.close()
    assert not [line for line in trouble if "net::ERR_" not in line]  # the server ends before the page


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    y, x = np.mgrid[:400, :500]
    planes = [2000 + 1500 * np.sin(y / (9 + 4 * z)) * np.cos(x / (13 + z)) for z in range(3)]
    tifffile.imwrite(tmp_path / "waves.tif", np.stack(planes).astype("u2"), metadata={"axes": "ZYX"}, imagej=True)
    return tmp_path / "waves.tif"


def pixels(page: Any, path: Path) -> np.ndarray:
    from PIL import Image

    page.screenshot(path=path)
    return np.asarray(Image.open(path).convert("L")).astype(float)


def test_result_beside_source(stack: Path, page: Any, tmp_path: Path) -> None:
    with running(stack, RestoreRequest(model="nano-x2-gray")) as (address, _):
        page.goto(address)
        page.wait_for_function(_SHOWN)
        assert page.title().startswith("waves")
        assert "nano-x2-gray" in page.inner_text("#facts")
        shot = pixels(page, tmp_path / "first.png")
        left, right = shot[100:600, 60:400], shot[100:600, 500:840]
        assert left.std() > 20  # both sides have the image
        assert right.std() > 20

        # The wheel zooms also over the swipe's handle.
        before = page.evaluate("view.zoom")
        middle = page.locator("#swipe").bounding_box()
        page.mouse.move(middle["x"] + 14, 380)
        page.mouse.wheel(0, -150)
        page.wait_for_function(f"view.zoom > {before}")
        page.keyboard.press("0")
        page.wait_for_function(_SHOWN)

        # The swipe: all source, then all result, at the same place.
        page.focus("#swipe")
        page.keyboard.press("End")
        page.wait_for_function(_SHOWN)
        source = pixels(page, tmp_path / "source.png")[80:640, 100:800]
        page.keyboard.press("Home")
        page.wait_for_function(_SHOWN)
        result = pixels(page, tmp_path / "result.png")[80:640, 100:800]
        assert np.corrcoef(source.ravel(), result.ravel())[0, 1] > 0.98
        assert np.abs(source - result).max() > 0

        # Another plane, and another brightness.
        page.fill("#plane-Z", "2")
        page.wait_for_function(_SHOWN)
        other = pixels(page, tmp_path / "plane.png")[80:640, 100:800]
        assert np.abs(other - result).mean() > 10
        page.route("**/view/**", lambda route: None)  # the server answers late: the picture stays
        page.fill("#high-0", "350")
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert np.abs(pixels(page, tmp_path / "late.png")[80:640, 100:800] - other).mean() < 1
        page.unroute("**/view/**")
        page.fill("#high-0", "400")
        page.wait_for_function(_SHOWN)
        assert pixels(page, tmp_path / "bright.png")[80:640, 100:800].mean() > other.mean() + 10

        # Zoom in and move: the previous picture stays until the tiles are there.
        page.mouse.move(450, 380)
        page.mouse.wheel(0, -600)
        page.mouse.down()
        page.mouse.move(350, 300, steps=4)
        page.mouse.up()
        page.wait_for_function(_SHOWN)
        assert page.evaluate("view.zoom") > 1
        assert "zarr3" in page.get_attribute("#links a", "href")
        assert "serve with --ngff 0.4" in page.inner_text("#links")


def test_a_picture_is_painted_once(stack: Path, page: Any) -> None:
    """Each side is drawn once where nothing else was shown before, and one timer waits while tiles are restored."""
    with running(stack, RestoreRequest(model="nano-x2-gray")) as (address, _):
        page.goto(address)
        page.wait_for_function(_SHOWN)
        counted = """() => { let sides = 0; const old = side; side = (...all) => { sides++; old(...all); };
            paint(); side = old; return sides; }"""
        assert page.evaluate(counted) == 2
        page.route("**/view/**", lambda route: None)  # the server answers late
        page.fill("#plane-Z", "2")
        page.wait_for_function("wantedTiles().some(name => tiles.get(name)?.state === 'loading')")
        assert page.evaluate(counted) == 4  # the last plane stays below
        timers = """() => { const waiting = new Set(), [set, clear] = [setTimeout, clearTimeout];
            setTimeout = (...all) => { const made = set(...all); if (all[0] === draw) waiting.add(made); return made; };
            clearTimeout = (made) => { waiting.delete(made); clear(made); };
            for (let i = 0; i < 5; i++) paint();
            [setTimeout, clearTimeout] = [set, clear]; return waiting.size; }"""
        assert page.evaluate(timers) == 1
        page.unroute("**/view/**")
        page.fill("#plane-Z", "0")
        page.wait_for_function(_SHOWN)


def test_channels_and_progress(page: Any, tmp_path: Path) -> None:
    """Channels have the metadata's colours, and can be added, hidden and stretched; the page shows progress."""
    y, x = np.mgrid[:300, :420]
    planes = [500 + 400 * np.sin(y / 20), 500 + 400 * np.cos(x / 30)]
    stack = np.stack([np.stack([plane, plane * 0.5]) for plane in planes]).astype("u2")
    colors = {"Name": ["DAPI", "GFP"], "Color": [0x0000FFFF, 0x00FF00FF]}
    tifffile.imwrite(tmp_path / "two.ome.tif", stack, metadata={"axes": "CZYX", "Channel": colors})
    with running(tmp_path / "two.ome.tif", RestoreRequest(model="nano-x2-gray", range=(0, 1000))) as (address, served):
        from tests.serve.test_app import SimpleStore
        from tests.serve.test_store import held

        hold, _ = held(SimpleStore(served.image_of("")))
        page.goto(address)
        page.wait_for_function("document.querySelector('#status').textContent.includes('pictures are there')")
        page.wait_for_function("document.querySelector('#speed').textContent.includes('wait')")
        assert page.evaluate("document.querySelector('#bar').classList.contains('busy')")
        hold.set()
        page.wait_for_function(_SHOWN)
        page.wait_for_function("/[1-9]\\d* of 16 chunks/.test(document.querySelector('#restored-text').textContent)")
        assert page.eval_on_selector_all(".channel .name span", "all => all.map(one => one.textContent)") == [
            "DAPI",
            "GFP",
        ]

        def colours(name: str) -> Any:
            from PIL import Image

            page.wait_for_function(_SHOWN)
            page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            page.screenshot(path=tmp_path / name)
            return np.asarray(Image.open(tmp_path / name).convert("RGB")).astype(float)[120:600, 120:780]

        both = colours("both.png")
        assert both[:, :, 0].mean() < 12  # no red but the swipe's line
        assert both[:, :, 1].std() > 20
        assert both[:, :, 2].std() > 20
        page.click("#dot-1")
        blue = colours("blue.png")
        assert blue[:, :, 1].mean() < 12
        np.testing.assert_allclose(blue[:, :, 2], both[:, :, 2], atol=40)
        page.fill("#high-0", "500")
        assert colours("bright.png")[:, :, 2].mean() > blue[:, :, 2].mean() + 10
        page.fill("#plane-Z", "1")
        assert colours("plane.png")[:, :, 2].mean() < blue[:, :, 2].mean()


def test_progress_counts_the_last_pictures(stack: Path, page: Any) -> None:
    """The server's answer may be older than the last picture: then the page asks once more."""
    page.add_init_script(
        "const plain = fetch, late = new Promise(done => { window.release = done; });"
        "window.fetch = async (...asked) => {"
        "  const answer = await plain(...asked); if (asked[0] === 'metrics') await late; return answer; }"
    )
    with running(stack, RestoreRequest(model="nano-x2-gray")) as (address, _):
        page.goto(address)
        page.wait_for_function(_SHOWN)
        assert page.inner_text("#restored-text").strip() == ""
        page.evaluate("release()")
        page.wait_for_function("/^[1-9]\\d* of/.test(document.querySelector('#restored-text').textContent)")


def test_a_narrow_window(stack: Path, page: Any) -> None:
    """Picture above, panel below; nothing is wider than the window."""
    page.set_viewport_size({"width": 390, "height": 800})
    with running(stack, RestoreRequest(model="nano-x2-gray")) as (address, _):
        page.goto(address)
        page.wait_for_function(_SHOWN)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        stage, panel = (page.locator(name).bounding_box() for name in ("main", "aside"))
        assert stage["y"] + stage["height"] <= panel["y"] + 1
        assert stage["height"] > 300


def test_a_plate_and_a_token(page: Any, tmp_path: Path) -> None:
    docs_files.plate(tmp_path / "plate.zarr")
    with running(tmp_path / "plate.zarr", RestoreRequest(model="nano-x2-gray"), token="word") as (address, served):
        page.goto(f"{address}token/word/")
        page.wait_for_function(_SHOWN)
        names = page.eval_on_selector_all("#image option", "all => all.map(one => one.value)")
        assert names == served.names
        page.select_option("#image", names[-1])
        page.wait_for_function(f"info && info.image === '{names[-1]}'")
        page.wait_for_function(_SHOWN)
        assert "/token/word/" in page.inner_text("#links")


def test_without_a_server_it_says_so(stack: Path, browser: Any) -> None:
    page = browser.new_page()
    with running(stack, RestoreRequest(model="nano-x2-gray")) as (address, _):
        page.goto(address)
        page.wait_for_function(_SHOWN)
    page.fill("#plane-Z", "1")
    page.wait_for_function("document.querySelector('#status').textContent.includes('does not answer')")
    page.close()
