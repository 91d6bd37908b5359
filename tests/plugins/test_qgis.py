"""QGIS: its own ``qgis_process`` runs the algorithm if it is installed; other tests need no QGIS."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from swin2sr_ops_qgis import host as host_module, place
from swin2sr_ops_qgis.__main__ import main as qgis_main
from swin2sr_ops_qgis.host import NAME, QgisHost
from swin2sr_ops_qgis.provider import runner

import swin2sr_ops
from swin2sr_ops.cli import main
from swin2sr_ops.errors import RequestError
from swin2sr_ops.spec import ModelSpec

PROVIDER = Path(runner.__file__).parent
SYSTEM_PYTHON = "/usr/bin/python3"  # where Debian's QGIS has its modules


@pytest.fixture
def no_qgis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pretend that QGIS is not installed; return the folder of its settings."""
    monkeypatch.setattr(place, "process_command", lambda: None)
    monkeypatch.setenv("QGIS_CUSTOM_CONFIG_PATH", str(tmp_path / "qgis"))
    monkeypatch.delenv(place.PROFILE, raising=False)
    return tmp_path / "qgis"


@pytest.fixture(scope="module")
def qgis(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A real QGIS with a profile of its own, in which the plugin is installed."""
    ask = place.process_command()
    if ask is None:
        pytest.skip("QGIS is not installed: there is no qgis_process")
    folder = tmp_path_factory.mktemp("qgis")
    (folder / "run").mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"QGIS_CUSTOM_CONFIG_PATH": folder, "XDG_RUNTIME_DIR": folder / "run"}.items():
            patch.setenv(name, str(value))
        patch.delenv(place.PROFILE, raising=False)
        before = QgisHost().status()
        told = QgisHost().install()
        yield ask, before, told


def qgis_process(ask: str, tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "scratch").mkdir(exist_ok=True)
    environment = place.environment(ask, tmp_path / "scratch")
    return subprocess.run([ask, *words], capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def scene(tmp_path: Path, rng: np.random.Generator) -> Path:
    """One band, with nodata."""
    rasterio = pytest.importorskip("rasterio", reason="QGIS gives GeoTIFF")
    path = tmp_path / "scene.tif"
    pixels = rng.integers(1, 3000, (1, 64, 96)).astype("u2")
    pixels[:, :8, :8] = 0
    profile = {"width": 96, "height": 64, "count": 1, "dtype": "uint16", "nodata": 0, "crs": "EPSG:32633"}
    turned = rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)
    with rasterio.open(path, "w", driver="GTiff", transform=turned, **profile) as dataset:
        dataset.write(pixels)
    return path


def check_result(scene: Path, out: Path, model: ModelSpec) -> None:
    import rasterio

    with rasterio.open(scene) as before, rasterio.open(out) as after:
        expected = swin2sr_ops.restore(before.read(1), model=model, nodata=0).compute()
        np.testing.assert_array_equal(after.read(1), expected)
        assert (after.crs, after.bounds, after.nodata) == (before.crs, before.bounds, 0)


# --- the plugin without QGIS ----------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(PROVIDER.glob("*.py")), ids=lambda p: p.name)
def test_nothing_heavy_in_qgis(path: Path) -> None:
    """Only QGIS's own modules and the standard library, and Qt only from ``qgis.PyQt``."""
    for node in ast.walk(ast.parse(path.read_text(), feature_version=(3, 9))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert node.module.split(".")[0] in {*sys.stdlib_module_names, "qgis"}
        elif isinstance(node, ast.Import):
            assert all(name.name.split(".")[0] in sys.stdlib_module_names for name in node.names)


def test_progress_of_a_real_run(scene: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    events: list[Any] = []
    words = runner.command(sys.executable, str(scene), str(tmp_path / "out.tif"), options(gray_model))
    runner.follow(words, events.append, lambda: False)
    done = [percent for event in events if (percent := runner.percent(event)) is not None]
    assert done == [0.0, *(100 * n / 6 for n in range(1, 7))]
    assert [e["kind"] for e in events if e["kind"] == "end"] == ["end"]
    assert "out.tif" in [e["text"] for e in events if e["kind"] == "note"][-1]
    check_result(scene, tmp_path / "out.tif", gray_model)


def test_cancelled_and_resumed(scene: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    events: list[Any] = []
    words = runner.command(sys.executable, str(scene), str(tmp_path / "out.tif"), options(gray_model))
    with pytest.raises(runner.Stopped):
        runner.follow(words, events.append, lambda: any(e["kind"] == "tile" for e in events))
    assert not (tmp_path / "out.tif").exists()
    again: list[Any] = []
    runner.follow(words, again.append, lambda: False)
    assert next(e for e in again if e["kind"] == "start")["done"] >= 1
    check_result(scene, tmp_path / "out.tif", gray_model)


def options(model: ModelSpec) -> dict[str, Any]:
    return {"model": str(model.weights), "tile": 32, "device": "cpu", "mask": None, "range": ""}


def test_errors_are_the_commands_own_sentences(tmp_path: Path) -> None:
    words = runner.command(sys.executable, str(tmp_path / "no.tif"), str(tmp_path / "out.tif"), {})
    with pytest.raises(RuntimeError, match=r"^There is no file"):
        runner.follow(words, print, lambda: False)
    with pytest.raises(RuntimeError, match="hosts install qgis"):
        runner.follow([str(tmp_path / "python")], print, lambda: False)
    with pytest.raises(RuntimeError, match="ended early: bad luck"):
        runner.follow([sys.executable, "-c", "print('bad luck'); exit(3)"], print, lambda: False)


def test_missing_settings() -> None:
    assert not (PROVIDER / "settings.json").exists()
    with pytest.raises(RuntimeError, match="hosts install qgis"):
        runner.read_settings()


def test_names_that_look_like_options(monkeypatch: pytest.MonkeyPatch) -> None:
    words = runner.command("python", "-1.tif", "out.tif", {"range": "-5,5", "nodata": "-1.0", "tile": None})
    assert words[words.index("restore") :] == [
        "restore", "--progress", "json", "--overwrite", "--range=-5,5", "--nodata=-1.0", "--", "-1.tif", "out.tif",
    ]  # fmt: skip
    monkeypatch.setenv("PYTHONHOME", "/qgis")
    assert "PYTHONHOME" not in runner.environment()


def test_lines_of_json(scene: Path, gray_model: ModelSpec, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["restore", str(scene), str(tmp_path / "out.tif"), "--model", str(gray_model.weights)]
    assert main([*words, "--progress", "json", "--json"]) == 0
    told = capfd.readouterr()
    assert json.loads(told.out)["tiles"] == 1
    kinds = [json.loads(line)["kind"] for line in told.err.splitlines()]
    assert kinds[-1] == "end"
    assert {"start", "tile"} <= set(kinds)


# --- the host without QGIS ------------------------------------------------------------------------


def test_no_qgis(no_qgis: Path) -> None:
    status = QgisHost().status()
    assert (status.present, status.registered) == (False, False)
    assert "install it" in status.detail
    with pytest.raises(RequestError, match="QGIS is not found"):
        QgisHost().install()


def test_installed_without_qgis_process(no_qgis: Path) -> None:
    (no_qgis / "profiles" / "work").mkdir(parents=True)
    (no_qgis / "profiles" / "profiles.ini").write_text("[core]\ndefaultProfile=work\n")
    assert "hosts install qgis" in QgisHost().status().detail
    told = QgisHost().install()
    folder = no_qgis / "profiles" / "work" / "python" / "plugins" / NAME
    assert str(folder) in told
    assert "Plugins > Manage" in told
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["python"] == sys.executable
    assert "tiny-x2-gray" in settings["models"]
    assert "tiny-x2-gray" not in settings["files"]
    assert settings["files"]["swin2sr-classical-x2"].endswith(".pth")
    metadata = (folder / "metadata.txt").read_text()
    assert "\nhasProcessingProvider=yes\n" in metadata
    assert f"\nversion={swin2sr_ops.__version__}\n" in metadata
    (folder / "old.py").touch()
    QgisHost().install()
    assert {p.name for p in folder.iterdir()} == {p.name for p in PROVIDER.iterdir() if p.is_file()} | {"settings.json"}
    status = QgisHost().status()
    assert (status.present, status.registered, status.working) == (True, False, False)
    assert "could show if QGIS loads it" in status.detail
    (folder / "settings.json").write_text(json.dumps({"python": str(folder / "gone")}))
    assert "cannot run swin2sr-ops" in QgisHost().status().detail


def test_models_that_are_not_on_the_disk(tmp_path: Path) -> None:
    """They are marked in the form until they are fetched."""
    there = tmp_path / "there.pth"
    there.touch()
    files = {"far": str(tmp_path / "gone.pth"), "near": str(there)}
    settings = {"python": "python", "models": ["shipped", "near", "far"], "files": files}
    assert runner.labelled(settings) == ["shipped", "near", "far (to be fetched)"]
    assert [runner.model_of(label) for label in runner.labelled(settings)] == settings["models"]
    assert [runner.is_missing(settings, name) for name in settings["models"]] == [False, False, True]
    assert runner.fetch_command("python", "far")[1:] == ["-P", "-m", "swin2sr_ops", "models", "--download=far"]


def test_places_of_profiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("QGIS_CUSTOM_CONFIG_PATH", raising=False)
    monkeypatch.delenv(place.PROFILE, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(place.sys, "platform", "linux")
    assert place.plugins_folder() == tmp_path / "QGIS/QGIS3/profiles/default/python/plugins"
    (tmp_path / "QGIS" / "QGIS4").mkdir(parents=True)
    assert place.profile() == tmp_path / "QGIS/QGIS4/profiles/default"
    monkeypatch.setattr(place.sys, "platform", "win32")
    monkeypatch.setenv("APPDATA", str(tmp_path / "roaming"))
    assert place.profile() == tmp_path / "roaming/QGIS/QGIS3/profiles/default"
    monkeypatch.setattr(place.sys, "platform", "darwin")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place.profile() == tmp_path / "Library/Application Support/QGIS/QGIS3/profiles/default"


@pytest.mark.parametrize(
    ("ini", "named", "expected"),
    [
        ("[core]\ndefaultProfile=work\n", "", "work"),
        ("[core]\ndefaultProfile=work\nlastProfile=home\n", "", "home"),
        ("[core]\ndefaultProfile=work\nlastProfile=gone\n", "", "work"),
        ("[core]\ndefaultProfile=work\nlastProfile=home\nselectionPolicy=1\n", "", "work"),
        ("[core]\ndefaultProfile=work\n", "home", "home"),
        ("no section", "", "default"),
    ],
)
def test_choice_of_the_profile(
    ini: str, named: str, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("QGIS_CUSTOM_CONFIG_PATH", str(tmp_path))
    monkeypatch.setenv(place.PROFILE, named)
    (tmp_path / "profiles" / "home").mkdir(parents=True)
    (tmp_path / "profiles" / "profiles.ini").write_text(ini)
    assert place.profile() == tmp_path / "profiles" / expected


def test_a_missing_profile(no_qgis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (no_qgis / "profiles" / "home").mkdir(parents=True)
    monkeypatch.setenv(place.PROFILE, "hoem")
    with pytest.raises(RequestError, match=r"hoem, which is not there.* home\.$"):
        QgisHost().install()
    assert not (no_qgis / "profiles" / "hoem").exists()
    monkeypatch.setenv(place.PROFILE, str(no_qgis / "profiles" / "home"))
    assert str(no_qgis / "profiles" / "home") in QgisHost().install()


def test_a_qgis_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert host_module._asked("/nothing/at/all", "list") == ""
    assert host_module._version(None) == ""


def test_archive_for_the_plugin_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One folder, with metadata of this version, the licence and the modules; the same bytes each time."""
    paths = [tmp_path / "one.zip", tmp_path / "two.zip"]
    for path in paths:
        assert qgis_main([str(path)]) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with zipfile.ZipFile(paths[0]) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"{NAME}/metadata.txt").decode()
    assert names == {f"{NAME}/{p.name}" for p in PROVIDER.iterdir() if p.is_file()} | {f"{NAME}/LICENSE"}
    assert f"\nversion={swin2sr_ops.__version__}\n" in metadata
    assert qgis_main([str(tmp_path / "plugin.tar")]) == 2
    assert qgis_main([str(tmp_path / "no" / "plugin.zip")]) == 2
    assert capsys.readouterr().err.count("error:") == 2


# --- a real QGIS ----------------------------------------------------------------------------------


def test_qgis_lists_it(qgis: Any) -> None:
    _, before, told = qgis
    assert (before.present, before.registered, before.working) == (True, False, False)
    assert "switched on" in told
    status = QgisHost().status()
    assert (status.registered, status.working) == (True, True)
    assert status.version.replace(".", "").isdigit()
    again = QgisHost().install()
    assert "switched on" in again


def test_another_profile_of_qgis(qgis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is that of the named profile, though ``qgis_process`` knows only one."""
    folder = place.profile().parent / "work"
    folder.mkdir()
    monkeypatch.setenv(place.PROFILE, "work")
    assert not QgisHost().status().registered
    told = QgisHost().install()
    assert str(folder) in told
    assert "switched on" in told
    assert QgisHost().status().working
    assert "true" in (folder / "QGIS" / "QGIS3.ini").read_text()


def test_qgis_in_an_active_environment(qgis: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """QGIS would use the Python modules of the first ``python3`` in the path."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert QgisHost().status().working


def test_qgis_runs_it(qgis: Any, scene: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    words = [f"INPUT={scene}", f"OUTPUT={out}", f"CHECKPOINT={gray_model.weights}", "TILE=32"]
    done = qgis_process(qgis[0], tmp_path, "run", "swin2sr:restore", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Restoring 6 tiles" in done.stdout
    assert "0...10...20" in done.stdout
    check_result(scene, out, gray_model)


def test_qgis_has_scale_ensemble_and_formats(qgis: Any, scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    words = [f"INPUT={scene}", f"OUTPUT={out}", "MODEL=nano-x2-gray", "SCALE=2", "ENSEMBLE=8", "HALO=8"]
    done = qgis_process(qgis[0], tmp_path, "run", "swin2sr:restore", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    import rasterio

    with rasterio.open(scene) as before, rasterio.open(out) as after:
        options = {"model": "nano-x2-gray", "ensemble": 8, "halo": 8, "nodata": 0}
        np.testing.assert_array_equal(after.read(1), swin2sr_ops.restore(before.read(1), **options).compute())
    shown = qgis_process(qgis[0], tmp_path, "help", "swin2sr:restore").stdout
    assert "swin2sr-classical-x2 (to be fetched)" in shown
    assert "FETCH" in shown
    words = [f"INPUT={scene}", f"OUTPUT={tmp_path / 'b.tif'}", "MODEL=nano-x2-gray", "SCALE=4"]
    assert qgis_process(qgis[0], tmp_path, "run", "swin2sr:restore", *words).returncode == 1


def test_qgis_shows_errors(qgis: Any, scene: Path, tmp_path: Path) -> None:
    words = [f"INPUT={scene}", f"OUTPUT={tmp_path / 'out.tif'}", "HALO=3"]
    done = qgis_process(qgis[0], tmp_path, "run", "swin2sr:restore", *words)
    assert done.returncode == 1
    assert "halo=3 does not fit small-x2-gray" in done.stderr


def test_cancel_in_qgis(qgis: Any, scene: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    """Cancel after the first tile; the next run resumes."""
    code = f"""
        import sys
        from qgis.core import QgsApplication, QgsProcessingContext, QgsProcessingFeedback
        sys.path.insert(0, {str(place.plugins_folder())!r})
        app = QgsApplication([], False)
        app.initQgis()
        from {NAME} import classFactory
        plugin = classFactory(None)
        plugin.initProcessing()
        class Feedback(QgsProcessingFeedback):
            def setProgressText(self, text): print("text:", text)
            def pushInfo(self, text): print("info:", text)
        def run(cancel):
            feedback = Feedback()
            if cancel:
                feedback.progressChanged.connect(lambda done: feedback.cancel() if done > 0 else None)
            algorithm = app.processingRegistry().createAlgorithmById("swin2sr:restore")
            given = {{"INPUT": {str(scene)!r}, "OUTPUT": {str(tmp_path / "out.tif")!r}, "TILE": 32,
                     "CHECKPOINT": {str(gray_model.weights)!r}}}
            print(algorithm.run(given, QgsProcessingContext(), feedback))
        run(True)
        run(False)
        plugin.unload()
    """
    if (
        not shutil.which(SYSTEM_PYTHON)
        or subprocess.run([SYSTEM_PYTHON, "-c", "import qgis.core"], check=False).returncode
    ):
        pytest.skip(f"{SYSTEM_PYTHON} has no QGIS")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    clean["QT_QPA_PLATFORM"] = "offscreen"
    words = [SYSTEM_PYTHON, "-c", textwrap.dedent(code)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=clean)
    first, _, second = done.stdout.partition("({}, True)")
    assert "info: Stopped. Finished tiles are kept" in first, done.stdout + done.stderr
    assert "of them are finished" in second
    check_result(scene, tmp_path / "out.tif", gray_model)
