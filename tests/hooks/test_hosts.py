"""Adapters of applications run in parallel, undisturbed by each other; the command line lists and installs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from swin2sr_ops.cli import main
from swin2sr_ops.errors import RequestError
from swin2sr_ops.hooks import dispatch as plugins
from swin2sr_ops.hooks.hosts import HostAdapter, HostStatus, statuses
from swin2sr_ops.hookspecs import hookimpl


class Host:
    """An application; ``answer`` is its status, or makes it."""

    def __init__(self, name: str, answer: HostStatus | Callable[[], Any], where: str = "") -> None:
        self.name, self.title, self.answer, self.where = name, name.title(), answer, where

    def status(self) -> Any:
        return self.answer() if callable(self.answer) else self.answer

    def install(self) -> str:
        if not self.where:
            raise RequestError(f"Nothing is to be installed into {self.title}.")
        return f"Installed at {self.where}."


def status(name: str, **found: Any) -> HostStatus:
    return HostStatus(name, name.title(), **({"present": True} | found))


def fails() -> HostStatus:
    raise ImportError("libGL.so.1:\n cannot open")


def ends() -> HostStatus:
    sys.exit("no display")


def hangs() -> HostStatus:
    time.sleep(60)
    return status("hangs")


def prints() -> HostStatus:
    print("Welcome to Prints 3.0")
    return status("prints", registered=True, working=True)


@pytest.mark.parametrize(
    ("found", "state"),
    [
        ({"present": False}, "absent"),
        ({}, "present"),
        ({"registered": True}, "broken"),
        ({"registered": True, "working": True}, "working"),
        ({"working": True}, "present"),
        ({"problem": "It fell over.", "registered": True, "working": True}, "unknown"),
    ],
)
def test_states(found: dict[str, Any], state: str) -> None:
    assert status("a", **found).state == state
    assert status("a", **found).to_dict()["state"] == state


def test_adapters_cannot_disturb_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    answers = {"fails": fails, "ends": ends, "hangs": hangs, "prints": prints, "lies": lambda: "fine"}
    hosts = [Host(name, answer) for name, answer in answers.items()]
    assert all(isinstance(host, HostAdapter) for host in hosts)
    began = time.monotonic()
    found = {s.name: s for s in statuses(hosts, timeout=1)}
    assert time.monotonic() - began < 10
    assert list(found) == list(answers)
    assert found["fails"].problem == "Its adapter failed: ImportError: libGL.so.1: cannot open"
    assert "SystemExit: no display" in found["ends"].problem
    assert found["hangs"].problem == "It did not answer within 1 s."
    assert "'fine', which is not a HostStatus" in found["lies"].problem
    assert found["prints"].state == "working"
    printed = capsys.readouterr()
    assert "Welcome" in printed.err
    assert not printed.out


def test_no_hosts() -> None:
    assert statuses([]) == []


# --- the command line ---------------------------------------------------------------------------------


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A plugin with three applications, and no other."""

    class Plugin:
        @hookimpl
        def swin2sr_ops_hosts(self) -> list[Host]:
            print("hello")
            return [
                Host("viewer", status("viewer", version="2.1", detail="Menu Filters."), where="/home/viewer"),
                Host("crashes", fails), Host("none", status("none", present=False)),
            ]  # fmt: skip

    monkeypatch.setenv("SWIN2SR_OPS_PLUGINS", "0")
    plugins.manager.cache_clear()
    plugins.manager().register(Plugin(), "applications")
    yield
    plugins.manager.cache_clear()


@pytest.mark.usefixtures("installed")
def test_output_for_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hosts", "--json"]) == 1  # one crashes
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {name: row["state"] for name, row in rows.items()} == {
        "crashes": "unknown", "none": "absent", "viewer": "present",
    }  # fmt: skip
    assert rows["viewer"]["version"] == "2.1"
    assert main(["hosts"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "state", "version", "about"]
    assert "Crashes: Its adapter failed: ImportError" in lines[1]
    assert "None: It is not installed." in lines[2]
    assert lines[3].endswith("Viewer: Menu Filters.")


@pytest.mark.usefixtures("installed")
def test_a_status_for_scripts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One application by its name: only a working one is 0. All of them: faults count, absences do not."""

    class Plugin:
        @hookimpl
        def swin2sr_ops_hosts(self) -> list[Host]:
            return [Host("paint", status("paint", registered=True, working=True))]

    assert main(["hosts", "check", "viewer"]) == 1  # present, without the operator
    assert main(["hosts", "check", "none"]) == 1
    assert main(["hosts", "check", "crashes", "--json"]) == 1
    capsys.readouterr()
    plugins.manager().register(Plugin(), "another")
    assert main(["hosts", "check", "paint"]) == 0
    assert "Crashes" not in capsys.readouterr().out  # no other host is asked
    assert main(["hosts", "check"]) == 2
    assert "`hosts check` needs a name" in capsys.readouterr().err
    assert main(["hosts", "check", "gimp"]) == 2
    assert "no host called 'gimp'" in capsys.readouterr().err


@pytest.mark.usefixtures("installed")
def test_installing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hosts", "install", "viewer"]) == 0
    assert capsys.readouterr().out == "Installed at /home/viewer.\n"
    assert main(["hosts", "install", "viewer", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "viewer", "done": "Installed at /home/viewer."}
    for words, says in [
        (["install", "none"], "Nothing is to be installed into None."),
        (["install", "paint"], "There is no host called 'paint': give one of crashes, none, viewer."),
        (["install"], "needs a name: give one of crashes, none, viewer."),
    ]:
        assert main(["hosts", *words]) == 2
        assert says in capsys.readouterr().err


def test_hosts_without_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SWIN2SR_OPS_PLUGINS", "0")
    plugins.manager.cache_clear()
    try:
        assert main(["hosts"]) == 0
        assert "No plugin adds the operator to an application." in capsys.readouterr().out
    finally:
        plugins.manager.cache_clear()


def test_the_projects_own() -> None:
    """Call the project's adapters in a process of its own: each answers without an error."""
    own = {info.name for info in plugins.loaded() if info.distribution == "swin2sr-ops" and "hosts" in info.hooks}
    if not own:
        pytest.skip("the package is not installed with its plugins")
    code = "import sys; from swin2sr_ops.cli import main; sys.exit(main(['hosts', '--json', '--timeout', '120']))"
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "SWIN2SR_OPS_PLUGINS": ",".join(own)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode in (0, 1), done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert done.returncode == any(row["state"] in ("broken", "unknown") for row in rows.values())
    assert own <= rows.keys()
    for row in rows.values():
        assert row["state"] != "unknown", row["problem"]
        assert row["detail"] or row["state"] == "working", f"{row['name']} has no sentence"
