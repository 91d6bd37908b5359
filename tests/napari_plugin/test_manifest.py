"""What napari reads of us, and that it agrees with the host adapter."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("npe2")

from npe2 import PluginManifest
from swin2sr_ops_napari import host

from swin2sr_ops.hooks.dispatch import hosts


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_distribution(host.NAME)


def test_it_is_valid_and_everything_can_be_imported() -> None:
    code = (
        "from npe2 import PluginManifest as M; m = M.from_distribution('swin2sr-ops');"
        "m.validate_imports(); print(m.name, len(m.contributions.commands))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["swin2sr-ops", str(len(host.COMMANDS))], done.stderr


def test_the_adapter_and_the_manifest_say_the_same(manifest: PluginManifest) -> None:
    given = manifest.contributions
    assert {c.id for c in given.commands} == {f"{host.NAME}.{c}" for c in host.COMMANDS}
    assert [w.display_name for w in given.widgets] == [host.WIDGET, host.TRAIN_WIDGET]
    parent, own = host.MENU
    assert [item.submenu for item in given.menus[parent]] == [own]
    assert {item.command for item in given.menus[own]} == {
        f"{host.NAME}.{name}" for name in ("restore", "preview", "train")
    }
    assert [s.id for s in given.submenus] == [own]
    assert {s.key for s in given.sample_data} == {"cells", "photo", "large"}


def test_napari_shows_the_menus_that_are_named(manifest: PluginManifest) -> None:
    """Other ids are dropped without a word."""
    from napari._app_model.constants import MenuId

    for menu in manifest.contributions.menus:
        assert menu == host.MENU[1] or menu in set(MenuId.contributables())


def test_nothing_heavy_is_loaded_to_find_or_to_list() -> None:
    code = (
        "import sys; from npe2 import PluginManager; PluginManager.instance().discover();"
        "assert 'swin2sr_ops_napari' not in sys.modules;"
        "from swin2sr_ops_napari.choices import choices, advice, overlaps;"
        "[(advice(c.spec, 1), overlaps(c.spec)) for c in choices(1)]; import swin2sr_ops_napari.samples;"
        "print([m for m in ('torch', 'qtpy', 'napari') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_adapter_asks_napari() -> None:
    (adapter,) = [a for a in hosts() if a.name == "napari"]
    status = adapter.status()
    assert status.present
    assert status.registered


def test_preferences(
    npe2pm: Any, plugin_settings: Any, manifest: PluginManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari.settings import get_plugin_settings
    from swin2sr_ops_napari.preferences import preferences

    from swin2sr_ops.weights.download import cache_folder

    monkeypatch.delenv("SWIN2SR_OPS_CACHE", raising=False)
    npe2pm.register(manifest)
    page = get_plugin_settings(host.NAME).restore
    assert preferences().model == "auto"
    page.device, page.memory_share, page.cache_folder = "cpu", 20, "/tmp/models-of-mine"
    found = preferences()
    assert (found.device, found.memory_share) == ("cpu", 0.2)
    assert str(cache_folder()) == "/tmp/models-of-mine"
    with pytest.raises(ValueError, match="toaster"):
        page.device = "toaster"
    page.cache_folder = ""
    preferences()
    assert str(cache_folder()) != "/tmp/models-of-mine"
