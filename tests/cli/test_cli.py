"""The command line: every command, the same pixels as Python, and one sentence when something is wrong."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

import swin2sr_ops
from swin2sr_ops import cli
from swin2sr_ops.cli.parsers import build_parser
from swin2sr_ops.cli.request import output_options_of
from swin2sr_ops.options import OPTIONS, SIDES
from swin2sr_ops.serve.options import Options
from swin2sr_ops.spec import ModelSpec

SCRIPT = Path(sys.executable).parent / "swin2sr-ops"


@pytest.fixture
def image(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(100, 4000, (41, 52)).astype("u2")


@pytest.fixture
def folder(tmp_path: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: an image, a folder that is not a Zarr, and an output that exists."""
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("in.tif", image)
    Path("plain").mkdir()
    Path("there.zarr").mkdir()
    return tmp_path


def left(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def printed(capsys: pytest.CaptureFixture[str], *args: str, status: int = 0) -> str:
    """Run a command that must end with ``status``; return what it printed."""
    assert cli.main(args) == status
    return capsys.readouterr().out


# --- commands -----------------------------------------------------------------------------------


@pytest.mark.parametrize("out", ["out.ome.zarr", "out.tif"])
@pytest.mark.parametrize("options", [[], ["--tile", "24"], ["--tile", "41,16"], ["--range", "p1,p99"]])
def test_restore_equals_the_array(
    folder: Path, image: np.ndarray, capsys: pytest.CaptureFixture[str], options: list[str], out: str
) -> None:
    """Law 7: the command line gives the pixels of `swin2sr_ops.restore`."""
    summary = printed(capsys, "restore", "in.tif", out, *options)
    assert summary.startswith(f"{out}: ")
    assert "model small-x2-gray" in summary
    source = swin2sr_ops.open_source(out)
    value_range = options[1] if "--range" in options else "auto"
    expected = swin2sr_ops.restore(image, range=value_range).compute()
    np.testing.assert_array_equal(source.read(tuple(slice(0, n) for n in source.info.shape)), expected)


def test_restore_passes_every_option_on(folder: Path, image: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    zarr.create_group("in.zarr").create_array("deep", data=np.stack([image, image[::-1]]))
    options = {"scale": 2, "halo": 16, "precision": "float64", "device": "cpu", "axes": "ZYX", "range": (0, 5000)}
    words = "--scale 2 --halo 16 --precision float64 --device cpu --axes ZYX --range 0,5000 --array deep --tile 24,40"
    report = json.loads(printed(capsys, "restore", "in.zarr", "out.zarr", "--json", *words.split()))
    expected = swin2sr_ops.restore(
        np.stack([image, image[::-1]]), model="small-x2-gray", tile=(24, 40), **options  # type: ignore[arg-type]
    ).compute()  # fmt: skip
    np.testing.assert_array_equal(zarr.open_group("out.zarr")["0"][:], expected)
    told_settings = {k: report["settings"][k] for k in ("halo", "tile", "precision", "device", "scale")}
    assert told_settings == {"halo": 16, "tile": [24, 40], "precision": "float64", "device": "cpu", "scale": 2}


def test_restore_takes_a_checkpoint(folder: Path, gray_model: ModelSpec, capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads(printed(capsys, "restore", "in.tif", "out.png", "--model", gray_model.weights, "--json"))
    assert {"source", "output", "model", "weights_sha256", "settings", "tiles", "pixels", "seconds"} <= set(report)
    assert {"pixels_per_second", "peak_bytes"} <= set(report)
    assert report["model"] == gray_model.name
    assert report["pixels"] == 41 * 52 * 4
    assert Path("out.png").is_file()


def test_quiet_and_overwrite(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["restore", "in.tif", "there.zarr", "--overwrite", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert swin2sr_ops.open_source("there.zarr").info.shape == (82, 104)
    assert left(folder) == {"in.tif", "plain", "there.zarr"}


def test_info(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "info", "in.tif").splitlines()
    facts = dict(line.split(maxsplit=1) for line in lines)
    assert facts["axes"] == "YX"
    assert facts["shape"] == "41 x 52"
    assert facts["dtype"] == "uint16"
    found = json.loads(printed(capsys, "info", "sample:photo", "--json"))
    assert {"source", "format", "axes", "shape", "dtype", "bytes", "levels", "pixel_size", "nodata"} <= set(found)
    assert found["axes"] == "YXS"


def test_info_of_a_stack(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.25, "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite("stack.ome.tif", np.zeros((2, 9, 9), "u1"), metadata=metadata)
    text = printed(capsys, "info", "stack.ome.tif")
    assert "DAPI, GFP" in text
    assert "X 0.25" in text


def test_json_is_strict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """NaN as nodata is common in GeoTIFF, and JSON has no NaN."""
    tags = [(42113, "s", 0, "nan", True)]  # GDAL_NODATA
    tifffile.imwrite("dem.tif", np.zeros((9, 9), "f4"), extratags=tags)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    found = json.loads(printed(capsys, "info", "dem.tif", "--json"), parse_constant=refuse)
    assert found["nodata"] == "nan"


def test_plan(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "plan", "in.tif", "--tile", "16")
    assert "12 of 16 x 16 px" in text
    assert "none, equals one pass over the whole image" in text
    assert "82 x 104 uint16" in text
    found = json.loads(printed(capsys, "plan", "in.tif", "--tile", "16", "--halo", "16", "--json"))
    assert {"model", "input", "tile", "over_read", "over_compute", "peak_bytes", "expected_error"} <= set(found)
    assert {"source", "planes", "output_bytes", "output_chunk"} <= set(found)
    assert (found["tiles"], found["halo"], found["output_shape"]) == (12, 16, [82, 104])
    assert left(folder) == {"in.tif", "plain", "there.zarr"}


def test_models(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "models")
    names = [line.split()[0] for line in text.splitlines()[1:]]
    assert names == [spec.name for spec in swin2sr_ops.list_models()]
    assert "tiny-x2-gray" in names
    found = json.loads(printed(capsys, "models", "--scale", "4", "--channels", "3", "--task", "real_sr", "--json"))
    assert {(m["scale"], m["channels"], m["task"]) for m in found} == {(4, 3, "real_sr")}
    assert "swin2sr-real-x4" in {m["name"] for m in found}
    assert "No model has these properties" in printed(capsys, "models", "--scale", "8", "--channels", "1")
    assert json.loads(printed(capsys, "models", "--scale", "8", "--channels", "1", "--json")) == []


def test_one_model(capsys: pytest.CaptureFixture[str]) -> None:
    facts = dict(line.split(maxsplit=1) for line in printed(capsys, "models", "tiny-x2-gray").splitlines())
    assert facts["scale"] == "2"
    assert facts["licence"] == "Apache-2.0"
    found = json.loads(printed(capsys, "models", "tiny-x2-gray", "--json"))
    assert swin2sr_ops.ModelSpec.from_dict(found).name == "tiny-x2-gray"


def test_the_real_script(folder: Path, image: np.ndarray) -> None:
    done = subprocess.run([SCRIPT, "restore", "in.tif", "out.zarr"], capture_output=True, text=True, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")  # no progress bar: not a terminal
    assert done.stdout.startswith("out.zarr: ")
    np.testing.assert_array_equal(zarr.open_group("out.zarr")["0"][:], swin2sr_ops.restore(image).compute())
    done = subprocess.run([SCRIPT, "restore", "in.tif", "out.zarr"], capture_output=True, text=True, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "out.zarr: already finished with the same settings\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no broken pipes")
def test_a_download_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("swin2sr_ops.weights.download.fetch", lambda spec: Path("cache") / f"{spec.name}.pth")
    told = json.loads(printed(capsys, "models", "--download", "swin2sr-classical-x2", "--json"))
    assert told == {"name": "swin2sr-classical-x2", "path": str(Path("cache") / "swin2sr-classical-x2.pth")}


@pytest.mark.parametrize("command", ["models", "models --scale 8"])
def test_a_reader_that_closes_the_pipe(command: str) -> None:
    """``swin2sr-ops models | head -1`` ends silently, also if all output fits the last buffer."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    run = subprocess.Popen(
        [SCRIPT, *command.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert run.stdout is not None
    assert run.stderr is not None
    run.stdout.close()
    with run.stderr as stderr:
        assert stderr.read() == ""
    assert run.wait() == 141


# --- failures: one sentence, status 2 ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("restore missing.tif out.zarr", "no file or folder at 'missing.tif'"),
        ("info missing.tif", "no file or folder at 'missing.tif'"),
        ("plan missing.tif", "no file or folder at 'missing.tif'"),
        ("info sample:nothing", "sample:cells"),
        ("restore plain out.zarr", "'plain' is not a Zarr"),
        ("info plain", "'plain' is a folder, but not a Zarr"),
        ("restore in.tif there.zarr", "exists already"),
        ("restore in.tif in.tif --overwrite", "must not change"),
        ("restore in.tif nowhere/out.zarr", "create it first"),
        ("restore in.tif out.xyz", "does not say a format"),
        ("restore in.tif out.zarr --model tiny-x2-grey", "Did you mean 'tiny-x2-gray'"),
        ("restore in.tif out.zarr --model swin2sr-clasical-x4", "'swin2sr-classical-x4'"),
        ("restore in.tif out.zarr --model nothing.pth", "There is no file"),
        ("models tiny-x2-grey", "Did you mean 'tiny-x2-gray'"),
        ("models --download tiny-x2-grey", "Did you mean 'tiny-x2-gray'"),
        ("models --download tiny-x2-gray", "needs no download"),
        ("models --channels 2", "invalid choice: 2"),
        ("restore in.tif out.zarr --model tiny-x2-gray --scale 4", "has scale=2, but scale=4 was asked for"),
        ("restore in.tif out.zarr --scale 5", "No shipped model has scale=5"),
        ("restore in.tif out.zarr --scale two", "argument --scale: 'two' is not a whole number"),
        ("restore in.tif out.zarr --halo x", "argument --halo: 'x' is neither exact nor a number of pixels"),
        ("restore in.tif out.zarr --halo 16.5", "argument --halo: '16.5' is neither"),
        ("restore in.tif out.zarr --halo 13", "a multiple of its window (8 px)"),
        ("restore in.tif out.zarr --halo 0", "a multiple of its window (8 px)"),
        ("restore in.tif out.zarr --tile a,b", "argument --tile: 'a,b' is neither N nor ROWS,COLUMNS"),
        ("restore in.tif out.zarr --tile 1,2,3", "argument --tile: '1,2,3' is neither N nor ROWS,COLUMNS"),
        ("restore in.tif out.zarr --tile 64,", "argument --tile: '64,' is neither N nor ROWS,COLUMNS"),
        ("restore in.tif out.zarr --tile 0", "at least one row and one column"),
        ("restore in.tif out.zarr --tile=-8", "at least one row and one column"),
        ("restore in.tif out.zarr --range wide", "range='wide' is not understood"),
        ("restore in.tif out.zarr --range 9,1", "two rising numbers"),
        ("restore in.tif out.zarr --range p1,p200", "two percentiles"),
        ("restore in.tif out.zarr --device nosuch", "device='nosuch' cannot be used here"),
        ("restore in.tif out.zarr --device cuda:77", "device='cuda:77' cannot be used here"),
        ("restore in.tif out.zarr --precision float16", "float16 is not offered"),
        ("restore in.tif out.zarr --precision half", "precision='half' is not one of"),
        ("restore in.tif out.zarr --value-range many", "argument --value-range: 'many' is not a number"),
        ("restore in.tif out.zarr --value-range 255", "small-x2-gray, which has value_range=1.0"),
        ("restore in.tif out.zarr --axes YXQ", "3 dimensions"),
        ("restore in.tif out.zarr --level 3", "level=3"),
        ("restore in.tif out.zarr --zzz", "There is no option --zzz. `swin2sr-ops restore --help` lists all"),
        ("restore", "are required: SRC, DST. `swin2sr-ops restore --help` says more"),
        ("restore in.tif", "are required: DST. `swin2sr-ops restore --help` says more"),
        ("restore --list files.txt", "are required: SRC, DST. `swin2sr-ops restore --help` says more"),
        ("plan", "SRC. `swin2sr-ops plan --help` says more"),
        ("restore plain plain2", "'plain' is not a Zarr and contains no images"),
        ("restore nothing*.tif out", "No image matches 'nothing*.tif'"),
        ("restore in.tif nowhere/out", "create it first"),
        ("restore in.tif sample:cells out.zarr", "names one output, but there are 2 sources"),
        ("restore in.tif out --format jpeg", "invalid choice: 'jpeg'"),
        ("restore in.tif out.zarr --format png", "does not fit format='png'"),
        ("restore in.tif out.zarr --ngff 0.3", "invalid choice: '0.3'"),
        ("restore in.tif out.zarr --workers many", "'many' is neither gpus nor a number"),
        ("restore in.tif out.zarr --report nowhere/report.json", "The report 'nowhere/report.json' cannot be written"),
        ("restore --list missing.txt out", "The list file 'missing.txt' cannot be read"),
        ("plan in.tif --halo x", "argument --halo: 'x' is neither exact"),
        ("nothing", "There is no command nothing. `swin2sr-ops --help` lists all"),
    ],
)
def test_errors(folder: Path, capsys: pytest.CaptureFixture[str], command: str, says: str) -> None:
    before = left(folder)
    assert cli.main(command.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("swin2sr-ops: error: ")
    assert err.count("\n") == 1
    assert err.endswith(".\n") or "says more" in err
    assert says in err
    assert left(folder) == before


def test_an_interrupt_keeps_what_is_restored(
    folder: Path, image: np.ndarray, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of a run: status 130, no output, no traceback; the same command resumes."""
    from swin2sr_ops.engine.runner import Network

    run, calls = Network.run, []

    def interrupt(self: Network, *args: object, **more: object) -> object:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return run(self, *args, **more)  # type: ignore[arg-type]

    before = left(folder)
    for out in ("out.zarr", "out.tif"):
        calls.clear()
        monkeypatch.setattr(Network, "run", interrupt)
        assert cli.main(["restore", "in.tif", out, "--tile", "16"]) == 130
        assert capsys.readouterr() == ("", "swin2sr-ops: stopped; the same command resumes the run\n")
        assert out not in left(folder)
        monkeypatch.setattr(Network, "run", run)
        summary = printed(capsys, "restore", "in.tif", out, "--tile", "16")
        assert "of them by an earlier run" in summary
        source = swin2sr_ops.open_source(out)
        whole = source.read(tuple(slice(0, n) for n in source.info.shape))
        np.testing.assert_array_equal(whole, swin2sr_ops.restore(image).compute())
    assert left(folder) == before | {"out.zarr", "out.tif"}


# --- help ------------------------------------------------------------------------------------------


def parsers() -> Iterator[argparse.ArgumentParser]:
    """The parser and those of its commands."""
    top = build_parser()
    yield top
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


@pytest.mark.parametrize("command", ["restore", "plan", "serve"])
def test_options_of_a_request_come_from_the_table(command: str) -> None:
    (parser,) = (found for found in parsers() if found.prog.endswith(f" {command}"))
    found = {a.dest: (a.help, a.default, a.metavar) for a in parser._actions}
    missing = {"chunks", "shards"} if command == "plan" else set()
    own = {"restore": SIDES, "serve": SIDES.keys() - {"limit"}}  # in `serve`, a limit is the size of the cache
    for option in (*OPTIONS.values(), *(SIDES[name] for name in own.get(command, ()))):
        if option.name not in {*missing, "series"}:  # a folder as output takes every series
            assert found[option.name] == (option.line.replace("%", "%%"), option.default, option.metavar)


def test_what_serve_stores_is_asked_for_as_in_restore() -> None:
    """Else a cache with intervals could not be finished; ``--limit`` alone is another option there."""
    words = ["--interval", "90", "--calibration", "nano.json", "--noise", "5", "--context", "--ngff", "0.4"]
    served = build_parser().parse_args(["serve", "in.zarr", *words, "--limit", "1MB"])
    restored = build_parser().parse_args(["restore", "in.zarr", "out.zarr", *words])
    assert output_options_of(served) == output_options_of(restored)
    assert output_options_of(served)["interval"] == 90
    assert Options(**output_options_of(served)).output == output_options_of(restored)


@pytest.mark.parametrize("parser", list(parsers()), ids=lambda p: p.prog.replace(" ", "-"))
def test_help(parser: argparse.ArgumentParser) -> None:
    """Every command has a description, every option has a text, and long ones show examples."""
    assert parser.description
    assert parser.description.rstrip().endswith(".")
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            assert action.help, f"{parser.prog} {action.option_strings or action.dest} has no help text"
    if parser.prog in ("swin2sr-ops", "swin2sr-ops restore"):
        assert f"examples:\n  {parser.prog}" in (parser.epilog or "")
    assert parser.format_help()


@pytest.mark.parametrize("command", [[], ["restore"], ["info"], ["plan"], ["models"]])
def test_help_is_printed(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left_with:
        cli.main([*command, "--help"])
    assert left_with.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {' '.join(['swin2sr-ops', *command])}")


def test_help_says_what_is_easily_missed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["restore", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "p1,p99.8:sample", "RGB,GRAY", "near nodata (OME-Zarr outputs only)", "leave (default) does not",
        "finish an archive without images that cannot be restored", "events as lines of JSON on stderr",
        "seconds_left",
    ):  # fmt: skip
        assert words in text


def test_examples_are_valid(capsys: pytest.CaptureFixture[str]) -> None:
    """Commands of the help texts can be parsed."""
    for parser in parsers():
        for line in (parser.epilog or "").splitlines():
            if line.startswith("  swin2sr-ops "):
                words = line.strip().split("     ")[0].split("   ")[0].split(" > ")[0].split()[1:]
                assert build_parser().parse_args(words).command == words[0]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left_with:
        cli.main(["--version"])
    assert left_with.value.code == 0
    assert capsys.readouterr().out == f"swin2sr-ops {swin2sr_ops.__version__}\n"
