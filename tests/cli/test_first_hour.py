"""Check what a new user of the program meets first."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import swin2sr_ops
from swin2sr_ops.cli import main
from swin2sr_ops.cli.parsers import build_parser
from swin2sr_ops.errors import RequestError
from tests.conftest import small_spec


def commands() -> dict[str, argparse.ArgumentParser]:
    (found,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(found.choices)


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the sentence with which a command is refused."""
    assert main(list(words)) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    return text


# --- help -----------------------------------------------------------------------------------------


def test_no_arguments_print_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "examples:" in capsys.readouterr().out


def test_as_a_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "swin2sr_ops", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"swin2sr-ops {swin2sr_ops.__version__}\n"


@pytest.mark.parametrize("name", commands())
def test_every_help_has_examples_that_are_understood(name: str) -> None:
    epilog = commands()[name].epilog or ""
    assert epilog.startswith("examples:\n")
    lines = [line.strip() for line in epilog.splitlines() if re.match(r"  ([A-Z0-9_]+=\S+ )?swin2sr-ops ", line)]
    assert any(line.startswith(f"swin2sr-ops {name}") for line in lines)
    for line in lines:
        command = re.split(r"\s{2,}| > ", line)[0]
        words = [word for word in shlex.split(command) if not re.match(r"[A-Z0-9_]+=", word)]
        assert build_parser().parse_args(words[1:]).command == words[1]


@pytest.mark.parametrize("name", ["", *commands()])
def test_help_fits_a_terminal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "115")
    parser = commands()[name] if name else build_parser()
    assert max(map(len, parser.format_help().splitlines())) <= 115


# --- mistakes -------------------------------------------------------------------------------------


def test_an_unknown_option(capsys: pytest.CaptureFixture[str]) -> None:
    text = refusal(capsys, "restore", "a.tif", "b.tif", "--overwrit")
    assert "There is no option --overwrit; did you mean --overwrite? `swin2sr-ops restore --help`" in text
    assert "no option --tiles; did you mean --tile?" in refusal(capsys, "plan", "a.tif", "--tiles=32")
    assert "There is no option --bogus." in refusal(capsys, "models", "--bogus")


def test_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert "There is no command restor; did you mean restore?" in refusal(capsys, "restor", "a", "b")
    assert "There is no command xyzzy." in refusal(capsys, "xyzzy")


def test_options_cannot_be_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean --scale?" in refusal(capsys, "models", "--scal", "2")


@pytest.mark.parametrize(
    ("option", "value", "there"), [("scale", "5", "1, 2, 3, 4, 8"), ("task", "sharpen", "classical_sr"), ]
)  # fmt: skip
def test_properties_that_no_model_has(option: str, value: str, there: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = refusal(capsys, "models", f"--{option}", value)
    assert f"No model has {option} {value}" in text
    assert there in text


def test_properties_that_no_model_has_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--scale", "8", "--task", "denoise"]) == 0
    assert "omit one of them" in capsys.readouterr().out


def test_a_missing_device() -> None:
    from swin2sr_ops.engine.devices import choose_device, devices_here

    assert devices_here()[0] == "cpu"
    with pytest.raises(swin2sr_ops.RequestError, match=r"device='gpu' cannot be used here\. .*here: cpu"):
        choose_device("gpu")


def test_a_missing_library(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert "The library shtab is not installed" in refusal(capsys, "completion", "bash")


# --- completion -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "tiny-x2-gray" in script
    assert "overwrite" in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    main(["completion", "bash"])
    (tmp_path / "script").write_text(capsys.readouterr().out)
    ask = """
        source ./script
        ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_swin2sr_ops; echo "${COMPREPLY[@]}"; }
        ask swin2sr-ops mod
        ask swin2sr-ops restore --model nano-x2-
    """
    done = subprocess.run(["bash", "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0].split() == ["models"]
    assert set(done.stdout.split("\n")[1].split()) == {"nano-x2-gray", "nano-x2-rgb"}


# --- in notebooks ---------------------------------------------------------------------------------


def test_specs_and_lists() -> None:
    models = swin2sr_ops.list_models(scale=2, channels=1)
    assert "<ModelSpec tiny-x2-gray: swin2sr, classical_sr, x2, 1 channel>" in repr(models)
    assert models._repr_html_().count("<tr>") == len(models) + 1
    assert "<script>" not in small_spec(name="<script>")._repr_html_()
    with pytest.raises(RequestError, match=r"No model has task denoize: there are .*denoise"):
        swin2sr_ops.list_models(task="denoize")
    assert swin2sr_ops.list_models(scale=8, channels=1) == []


def test_plans() -> None:
    plan = swin2sr_ops.TilePlan(small_spec(), 100, 200, (64, 64))
    assert repr(plan) == "<TilePlan 100 x 200 px for small: 8 tiles of 64 x 64 px, halo exact>"
    assert "<th>tiles</th><td>8</td>" in plan._repr_html_()


def test_reports(tmp_path: Path) -> None:
    report = swin2sr_ops.RunReport("a.tif", "b.tif", "small", "0" * 64)
    assert repr(report).startswith("<RunReport done: b.tif: ")
    assert "<th>model</th><td>small</td>" in report._repr_html_()
    batch = swin2sr_ops.BatchReport()
    assert repr(batch) == "<BatchReport of 0 images: empty>"
    assert batch._repr_html_().startswith("<table>")
