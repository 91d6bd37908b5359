"""Plugins are found by entry point and called before the built-ins, and a broken one disables no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import swin2sr_ops
from swin2sr_ops.cli import main
from swin2sr_ops.errors import FormatError, ModelError, RequestError
from swin2sr_ops.hooks import dispatch as plugins, manager as plugin_manager
from swin2sr_ops.hookspecs import hookimpl
from swin2sr_ops.spec import ModelSpec
from tests.conftest import random_net, small_spec


class FakeEntry:
    """An installed entry point, without a distribution."""

    def __init__(self, name: str, plugin: object) -> None:
        self.name, self.value, self.plugin = name, f"{name}_module", plugin

    def load(self) -> object:
        if isinstance(self.plugin, BaseException):
            raise self.plugin
        return self.plugin


Install = Callable[..., Any]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Call with ``name=plugin`` to have these installed, and only these: gives the manager that finds them."""
    monkeypatch.delenv("SWIN2SR_OPS_PLUGINS", raising=False)
    monkeypatch.delenv("SWIN2SR_OPS_BLOCK", raising=False)

    def entries(**found: object) -> Any:
        def entry_points(group: str) -> list[FakeEntry]:
            assert group == "swin2sr_ops"
            return [FakeEntry(name, plugin) for name, plugin in found.items()]

        monkeypatch.setattr(plugin_manager, "entry_points", entry_points)
        plugins.manager.cache_clear()
        return plugins.manager()

    yield entries
    monkeypatch.undo()
    plugins.manager.cache_clear()


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def names(manager: Any) -> set[str]:
    return {name for name, _ in manager.list_name_plugin()} - {"swin2sr_ops.hooks.builtin"}


def listed() -> list[str]:
    return [spec.name for spec in swin2sr_ops.list_models()]


class Models:
    """A plugin with one model."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    @hookimpl
    def swin2sr_ops_model_specs(self) -> list[ModelSpec]:
        return [self.spec]


# --- broken plugins are named, the rest works ---------------------------------------------------------


def test_no_plugins(install: Install) -> None:
    assert names(install()) == set()
    assert "tiny-x2-gray" in listed()


def test_a_plugin_that_cannot_be_imported(install: Install) -> None:
    good = Models(small_spec(name="good"))
    with pytest.warns(UserWarning, match=r"'broken' \(broken_module\) was left out.*no module named 'gone'") as told:
        assert names(install(broken=ImportError("no module named 'gone'"), good=good)) == {"good"}
    assert len(told) == 1
    assert listed()[0] == "good"


class Misspelled(Models):
    @hookimpl
    def swin2sr_ops_opensource(self, uri: str) -> None: ...


class Unmarked(Models):
    def swin2sr_ops_open_source(self, uri: str) -> None: ...


class WrongArgument(Models):
    @hookimpl
    def swin2sr_ops_open_source(self, url: str) -> None: ...


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Misspelled, "hook that does not exist, swin2sr_ops_opensource; it may mean swin2sr_ops_open_source"),
        (Unmarked, "swin2sr_ops_open_source is not marked with hookimpl"),
        (WrongArgument, "url"),
    ],
)
def test_a_plugin_with_a_wrong_hook(install: Install, kind: type[Models], says: str) -> None:
    """Such a hook would never be called: the entire plugin is left out, with its valid hooks."""
    with pytest.warns(UserWarning, match=f"(?s)'wrong'.*left out.*{says}"):
        assert names(install(wrong=kind(small_spec(name="wrong")))) == set()
    assert "wrong" not in listed()


def test_a_hook_of_a_later_version(install: Install) -> None:
    """A hook that is marked as optional may be missing here."""

    class Newer(Models):
        @hookimpl(optionalhook=True)
        def swin2sr_ops_of_tomorrow(self) -> None: ...

        @hookimpl(specname="swin2sr_ops_progress")
        def listen(self, event: dict[str, Any]) -> None: ...

    assert names(install(newer=Newer(small_spec(name="newer")))) == {"newer"}
    assert listed()[0] == "newer"


def test_a_plugin_that_fails_to_list(install: Install) -> None:
    """It is named in a warning, and every other model can be listed and used."""

    class Failing:
        @hookimpl
        def swin2sr_ops_model_specs(self) -> Iterator[ModelSpec]:
            raise OSError("its table is gone")
            yield

    class Empty:
        @hookimpl
        def swin2sr_ops_model_specs(self) -> None:
            """pluggy ignores None."""

    install(empty=Empty(), failing=Failing(), good=Models(small_spec(name="good")))
    with pytest.warns(UserWarning, match="'failing' cannot list its models: .*its table is gone"):
        found = listed()
    assert found[0] == "good"
    assert "tiny-x2-gray" in found
    with pytest.warns(UserWarning, match="failing"):
        assert plugins.resolve_model("tiny-x2-gray").name == "tiny-x2-gray"


def test_damage_of_the_package_is_not_blamed_on_plugins(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install()

    def fail() -> None:
        raise ModelError("a shipped model is damaged")

    monkeypatch.setattr("swin2sr_ops.weights.catalogue.all_models", fail)
    with pytest.raises(ModelError, match="a shipped model is damaged"):
        swin2sr_ops.list_models()


def test_a_plugin_that_ends_the_process(install: Install) -> None:
    """`sys.exit` at import does not end this process."""
    with pytest.warns(UserWarning, match="'rude'.*left out: SystemExit: 3"):
        assert names(install(rude=SystemExit(3))) == set()


def test_two_of_one_name(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first stays."""
    install()
    twins = [FakeEntry("twin", Models(small_spec(name=name))) for name in ("first", "second")]
    monkeypatch.setattr(plugin_manager, "entry_points", lambda group: twins)
    plugins.manager.cache_clear()
    with pytest.warns(UserWarning, match="another plugin is called 'twin' too"):
        plugins.manager()
    assert [info.status for info in plugins.loaded()[1:]] == ["loaded", "broken"]
    assert listed()[0] == "first"


def test_a_wrapper_is_refused(install: Install) -> None:
    class Wrapper:
        @hookimpl(wrapper=True)
        def swin2sr_ops_model_specs(self) -> Iterator[Any]:
            return (yield)

    with pytest.warns(UserWarning, match="wrapper"):
        assert names(install(wrapper=Wrapper())) == set()


def test_a_misspelled_hook_gets_a_suggestion(install: Install) -> None:
    class Near:
        @hookimpl
        def open_source(self, uri: str) -> None: ...

    with pytest.warns(UserWarning, match="does not exist, open_source; it may mean swin2sr_ops_open_source"):
        install(near=Near())


class Crash:
    """Each of its hooks fails in another way."""

    @hookimpl
    def swin2sr_ops_open_source(self, uri: str) -> None:
        raise KeyError(uri)

    @hookimpl
    def swin2sr_ops_create_sink(self, uri: str) -> None:
        raise SystemExit(1)

    @hookimpl
    def swin2sr_ops_resolve_model(self, model: str) -> None:
        raise ZeroDivisionError

    @hookimpl
    def swin2sr_ops_build_network(self, spec: ModelSpec) -> None:
        raise RuntimeError("no network")

    @hookimpl
    def swin2sr_ops_hosts(self) -> list[str]:
        return ["napari"]

    @hookimpl
    def swin2sr_ops_progress(self, event: dict[str, Any]) -> None:
        raise ValueError("not interested")


def test_a_plugin_that_fails_in_its_hooks(
    install: Install, gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each failure is reported, the built-ins do the work, and the plugin counts as broken afterwards."""
    monkeypatch.setattr("swin2sr_ops.engine.runner._engines", {})  # another test may have built this network
    install(crash=Crash())
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.warns(UserWarning, match="crash") as told:
        report = swin2sr_ops.restore_image("sample:cells", tmp_path / "b.zarr", model=gray_model)
    assert report.state == "done"
    said = {str(warning.message) for warning in told}
    assert "Plugin 'crash' failed in swin2sr_ops_open_source: KeyError: 'sample:cells'" in said
    assert "Plugin 'crash' failed in swin2sr_ops_create_sink: SystemExit: 1" in said
    assert "Plugin 'crash' failed in swin2sr_ops_build_network: RuntimeError: no network" in said
    with pytest.warns(UserWarning, match="'crash'"), pytest.raises(FormatError, match="'crash' failed at it: KeyError"):
        swin2sr_ops.open_source(tmp_path / "a.npy")
    with (
        pytest.warns(UserWarning, match="'crash'"),
        pytest.raises(ModelError, match=r"no model .*'crash' failed"),
    ):
        plugins.resolve_model("nobody")
    with pytest.warns(
        UserWarning, match="'crash' cannot list its hosts: TypeError: 'napari' is not an instance of HostAdapter"
    ):
        assert plugins.hosts() == []
    (info,) = [info for info in plugins.loaded() if info.name == "crash"]
    assert (info.status, info.reason) == ("broken", "failed in swin2sr_ops_open_source: KeyError: 'sample:cells'")
    assert "SWIN2SR_OPS_BLOCK=crash" in info.advice


def test_an_error_of_this_project_from_a_plugin_is_raised(install: Install, tmp_path: Path) -> None:
    """An error of this project is about the request: it is raised, and the plugin does not count as broken."""

    class Knows:
        @hookimpl
        def swin2sr_ops_open_source(self, uri: str) -> None:
            if uri.endswith(".own"):
                raise FormatError(f"{uri} is truncated.")

        @hookimpl
        def swin2sr_ops_resolve_model(self, model: str) -> None:
            raise ModelError("Such models are for faces.")

    install(knows=Knows())
    with pytest.raises(FormatError, match=r"a\.own is truncated"):
        swin2sr_ops.open_source("a.own")
    with pytest.raises(ModelError, match=r"^Such models are for faces\.$"):
        plugins.resolve_model("face")
    (tmp_path / "face.pth").write_bytes(b"?")
    with pytest.raises(ModelError, match=r"face\.pth is a file of unknown kind .* Such models are for faces\."):
        plugins.resolve_model(tmp_path / "face.pth")
    assert plugins.loaded()[1].status == "loaded"


def test_a_plugin_resolves_names_outside_the_lists(install: Install, gray_model: ModelSpec) -> None:
    """The hook is called only if no list has the name; its answer must fit the request."""
    asked = []

    class Resolver:
        @hookimpl
        def swin2sr_ops_resolve_model(self, model: str, wanted: dict[str, Any]) -> ModelSpec | None:
            asked.append((model, wanted))
            return replace(gray_model, name=model) if model.startswith("mine:") else None

    install(resolver=Resolver())
    assert plugins.resolve_model("mine:a", scale=2).name == "mine:a"
    assert plugins.resolve_model("tiny-x2-gray").name == "tiny-x2-gray"
    assert asked == [("mine:a", {"scale": 2})]
    with pytest.raises(ModelError, match="scale=4 was asked for"):
        plugins.resolve_model("mine:a", scale=4)
    with pytest.raises(ModelError, match="no model called 'other'"):
        plugins.resolve_model("other")


# --- plugins on the command line ----------------------------------------------------------------------


def test_the_list_of_plugins(
    install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install()
    assert main(["plugins"]) == 0
    assert "builtin" in capsys.readouterr().out

    monkeypatch.setenv("SWIN2SR_OPS_BLOCK", "blocked")
    found: dict[str, Any] = {"blocked": ModuleType("b"), "broken": ImportError("no module named 'gone'")}
    with pytest.warns(UserWarning, match="'broken'"):
        install(**found, good=Models(small_spec(name="good")), empty=ModuleType("empty"), crash=Crash())
    assert main(["plugins", "--json"]) == 1
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "builtin": "loaded", "blocked": "blocked", "broken": "broken", "good": "loaded", "empty": "loaded",
        "crash": "broken",
    }  # fmt: skip
    assert rows["builtin"]["version"] == swin2sr_ops.__version__
    assert rows["builtin"]["hooks"] == ["build_network", "create_sink", "model_specs", "open_source"]
    assert rows["good"]["hooks"] == ["model_specs"]
    assert rows["broken"]["reason"] == "ImportError: no module named 'gone'"
    assert "SWIN2SR_OPS_BLOCK=broken" in rows["broken"]["advice"]
    assert rows["blocked"]["reason"] == "named in SWIN2SR_OPS_BLOCK"
    assert "implements no hook" in rows["empty"]["advice"]
    assert rows["good"]["advice"] == rows["good"]["reason"] == ""
    assert main(["plugins"]) == 1
    told = capsys.readouterr().out
    assert "Leave it out with SWIN2SR_OPS_BLOCK=broken" in told
    assert "cannot list its hosts" in told


def test_a_broken_plugin_in_a_list_for_programs(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` writes JSON alone to standard output, whatever plugins print."""

    class Loud:
        @hookimpl
        def swin2sr_ops_model_specs(self) -> list[ModelSpec]:
            print("hello from a plugin")
            raise OSError

    install(loud=Loud())
    assert main(["plugins", "--json"]) == 1
    json.loads(capsys.readouterr().out)


# --- environment variables --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "blocked", "loaded"),
    [
        (None, "", {"a", "b", "c"}),
        ("0", "", set()),
        ("", "", set()),
        ("b", "", {"b"}),
        (" a , c,nothing", "", {"a", "c"}),
        (None, "b", {"a", "c"}),
        (None, "b, a", {"c"}),
        ("a,b", "b", {"a"}),
    ],
)
def test_environment(
    install: Install, monkeypatch: pytest.MonkeyPatch, chosen: str | None, blocked: str, loaded: set[str]
) -> None:
    if chosen is not None:
        monkeypatch.setenv("SWIN2SR_OPS_PLUGINS", chosen)
    monkeypatch.setenv("SWIN2SR_OPS_BLOCK", blocked)
    assert names(install(**{name: ModuleType(name) for name in "cba"})) == loaded


def test_blocked_plugins_are_not_imported(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIN2SR_OPS_BLOCK", "broken")
    assert names(install(broken=ImportError("it was imported"))) == set()


# --- models ---------------------------------------------------------------------------------------


def test_a_plugins_model_by_name(install: Install, gray_model: ModelSpec, rng: np.random.Generator) -> None:
    """It is listed first and restores by its name, as the same model does from its file."""
    install(mine=Models(replace(gray_model, name="mine-x2")))
    assert listed()[:4] == ["mine-x2", "nano-x2-gray", "nano-x2-rgb", "small-x1-camera"]
    image = rng.integers(0, 999, (20, 31)).astype("u2")
    result = swin2sr_ops.restore(image, model="mine-x2").compute()
    np.testing.assert_array_equal(result, swin2sr_ops.restore(image, model=gray_model.weights).compute())
    with pytest.raises(ModelError, match="scale=4"):
        swin2sr_ops.restore(image, model="mine-x2", scale=4)


def test_a_plugin_may_take_a_name_over(install: Install, gray_model: ModelSpec) -> None:
    install(mine=Models(replace(gray_model, name="tiny-x2-gray", advice="mine")))
    assert plugins.resolve_model("tiny-x2-gray").advice == "mine"


def test_a_plugin_builds_its_network(install: Install, rng: np.random.Generator) -> None:
    """Its weights are in no file: the hook is called before the built-in loader, which rejects other such models."""
    spec = small_spec(name="from-nowhere", sha256="1")

    class Builder(Models):
        @hookimpl
        def swin2sr_ops_build_network(self, spec: ModelSpec) -> object:
            return random_net(spec, seed=3) if spec.name == "from-nowhere" else None

    install(builder=Builder(spec))
    image = rng.integers(0, 255, (17, 20), dtype="u1")
    restored = swin2sr_ops.restore(image, model="from-nowhere").compute()
    assert restored.shape == (34, 40)
    with pytest.raises(ModelError, match="does not state where its weights are"):
        swin2sr_ops.load_model(small_spec(name="other"))


# --- formats --------------------------------------------------------------------------------------


class Formats:
    """A plugin with a format; records which addresses it is asked about."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    @hookimpl
    def swin2sr_ops_open_source(self, uri: str, options: dict[str, Any]) -> object:
        self.asked.append(f"open {uri}")
        return plugins_own(uri, options) if uri.endswith((".own", ".tif")) else None

    @hookimpl
    def swin2sr_ops_create_sink(self, uri: str) -> object:
        """A hook may take fewer arguments than its specification."""
        self.asked.append(f"create {uri}")
        return "my sink" if uri.endswith(".zarr") else None


def plugins_own(uri: str, options: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    return "my source", uri, options


def test_a_plugins_format_is_asked_first(install: Install, tmp_path: Path) -> None:
    """A plugin comes first, even for built-in suffixes; the built-ins get the rest."""
    formats = Formats()
    install(formats=formats)
    assert swin2sr_ops.open_source("a.own", axes="YX", level=None) == ("my source", "a.own", {"axes": "YX"})
    assert swin2sr_ops.open_source(Path("a.tif")) == ("my source", "a.tif", {})
    photo = swin2sr_ops.open_source("sample:photo")
    assert swin2sr_ops.create_sink("a.zarr", photo.info) == "my sink"
    sink = swin2sr_ops.create_sink(tmp_path / "a.png", photo.info)
    sink.abort()
    assert formats.asked == [
        "open a.own", "open a.tif", "open sample:photo", "create a.zarr", f"create {tmp_path / 'a.png'}"
    ]  # fmt: skip


def test_an_unknown_format(install: Install, tmp_path: Path) -> None:
    install(formats=Formats())
    (tmp_path / "a.xyz").write_text("?")
    with pytest.raises(FormatError, match=r"a\.xyz"):
        swin2sr_ops.open_source(tmp_path / "a.xyz")
    info = swin2sr_ops.open_source("sample:photo").info
    with pytest.raises(RequestError, match="does not say a format"):
        swin2sr_ops.create_sink(tmp_path / "a.xyz", info)


# --- a real plugin ----------------------------------------------------------------------------------

PYPROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "swin2sr-ops-testplugin"
version = "1.0"

[project.entry-points.swin2sr_ops]
testplugin = "a_plugin_of_the_tests"

[tool.setuptools]
py-modules = ["a_plugin_of_the_tests"]
"""

MODULE = """\
from swin2sr_ops import ModelSpec, hookimpl

@hookimpl
def swin2sr_ops_model_specs():
    return [ModelSpec(name="testplugin-x2", licence="CC0-1.0", advice="For tests.")]
"""


def test_a_real_plugin(tmp_path: Path) -> None:
    """Built and installed by pip, found through its entry point, switched off by the environment; no torch loaded."""
    source, target = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / "pyproject.toml").write_text(PYPROJECT)
    (source / "a_plugin_of_the_tests.py").write_text(MODULE)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    options = ["--no-deps", "--no-build-isolation", "--target", str(target), str(source)]
    done = subprocess.run([*pip, *options], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip cannot build a distribution here: {done.stderr.strip().splitlines()[-1:]}")

    def first_models(**environment: str) -> str:
        code = (
            "import sys, swin2sr_ops; print(swin2sr_ops.list_models()[0].name, 'torch' in sys.modules); "
            "from swin2sr_ops.cli import main; main(['models', 'testplugin-x2'])"
        )
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SWIN2SR_OPS_")}
        env = kept | {"PYTHONPATH": str(target)} | environment
        run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=env)
        return run.stdout + run.stderr

    said = first_models()
    assert said.startswith("testplugin-x2 False\n")
    assert "For tests." in said
    assert "There is no model called 'testplugin-x2'" in first_models(SWIN2SR_OPS_PLUGINS="0")
    assert "There is no model called 'testplugin-x2'" in first_models(SWIN2SR_OPS_BLOCK="testplugin")
