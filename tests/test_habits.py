"""The files around the code: workflows, hooks before a commit, citation, changelog, issue forms."""

from __future__ import annotations

import configparser
import datetime
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import swin2sr_ops

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[1]
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
STEPS = {name.replace("_", "-") for name in re.findall(r"^step_(\w+)\(\)", CI, re.MULTILINE)}
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def steps_of(workflow: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values()
    return [step for job in jobs for step in job.get("steps", ())]


# --- workflows ------------------------------------------------------------------------------------


def test_there_are_workflows() -> None:
    assert [w.name for w in WORKFLOWS] == ["release.yml", "scheduled.yml", "tests.yml"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda w: w.stem)
def test_workflows_call_the_script_alone(workflow: Path) -> None:
    """The workflows run only what everybody can run from the repository."""
    for command in (step["run"] for step in steps_of(workflow) if "run" in step):
        words = command.split()
        assert words[0] == ".ci/run"
        assert set(words[1:]) <= STEPS, f"{command!r}: .ci/run has no such step"


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda w: w.stem)
def test_actions_are_fixed_to_a_commit(workflow: Path) -> None:
    for used in (step["uses"] for step in steps_of(workflow) if "uses" in step):
        assert re.search(r"@[0-9a-f]{40}$", used), f"{used} may change under the same name"


def test_every_step_is_called_by_a_workflow() -> None:
    called = {word for w in WORKFLOWS for s in steps_of(w) for word in s.get("run", "").split()[1:]}
    assert called | {"venv"} == STEPS  # workflows have their own machines


def test_the_matrix_is_what_the_classifiers_say() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    said = {c.rpartition(" :: ")[2] for c in project["classifiers"] if re.search(r"Python :: 3\.\d+$", c)}
    matrix = read(".github/workflows/tests.yml")["jobs"]["tests"]["strategy"]["matrix"]
    assert set(matrix["python"]) == said
    assert {os.partition("-")[0] for os in matrix["os"]} == {"ubuntu", "macos", "windows"}


def test_only_publishing_has_rights() -> None:
    for workflow in WORKFLOWS:
        told = yaml.safe_load(workflow.read_text(encoding="utf-8"))
        assert told["permissions"] == {"contents": "read"}
        for name, job in told["jobs"].items():
            if name not in ("publish", "site"):
                assert job.get("permissions", {"contents": "read"}) == {"contents": "read"}


def test_the_script_refuses_what_it_does_not_know() -> None:
    done = subprocess.run(["bash", str(ROOT / ".ci" / "run"), "nothing"], capture_output=True, text=True, check=False)
    assert done.returncode != 0


def test_warnings_about_the_site_are_errors(tmp_path: Path) -> None:
    """The command of the script fails for a link to a heading that does not exist."""
    pytest.importorskip("mkdocs", reason="the extra `docs` builds the site")
    (command,) = re.findall(r"^step_docs\(\) \{.*?(mkdocs build.*?); \}", CI, re.MULTILINE)
    (validation,) = re.findall(r"^validation:\n(?: .*\n)+", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    (tmp_path / "mkdocs.yml").write_text(f"site_name: x\n{validation}")
    (tmp_path / "docs").mkdir()
    for heading, status in (("There", 0), ("Elsewhere", 1)):
        (tmp_path / "docs" / "index.md").write_text(f"# x\n\n[y](#there)\n\n## {heading}\n")
        done = subprocess.run([sys.executable, "-m", *command.split()], cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == status


# --- other habits ---------------------------------------------------------------------------------


def test_hooks_before_a_commit_are_the_linters_of_ci() -> None:
    hooks = [hook for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    (body,) = re.findall(r"^step_lint\(\) \{\n(.*?)^\}", CI, re.MULTILINE | re.DOTALL)
    early = [hook["entry"] for hook in hooks if hook.get("stages") != ["pre-push"]]
    assert early == [line.strip() for line in body.splitlines()]


def test_citation() -> None:
    found = read("CITATION.cff")
    assert found["version"] == swin2sr_ops.__version__.partition(".dev")[0]
    assert {r["identifiers"][0]["value"] for r in found["references"]} == {"arXiv:2209.11345", "arXiv:2108.10257"}
    assert isinstance(found["date-released"], datetime.date)


def test_changelog_has_a_dated_section_of_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (.*)$", text, re.MULTILINE)
    released = [s for s in sections if s != "Unreleased"]
    assert sections[0] in ("Unreleased", released[0])
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ \(\d{4}-\d\d-\d\d\)", s) for s in released)
    number, day = released[0][:-1].split(" (")
    citation = read("CITATION.cff")
    assert (number, day) == (citation["version"], str(citation["date-released"]))


def test_issue_forms() -> None:
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.stem != "config":
            assert {"name", "description", "body"} <= set(form)
            assert all("label" in field["attributes"] for field in form["body"])


@pytest.mark.parametrize("name", ["SECURITY.md", "CODE_OF_CONDUCT.md", "RELEASING.md", ".napari-hub/DESCRIPTION.md"])
def test_pages_that_a_project_has(name: str) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8")) > 500


def test_metadata_of_the_napari_hub() -> None:
    found = read(".napari-hub/config.yml")
    assert found["summary"]
    assert "ontology" in found["labels"]


def test_metadata_of_the_qgis_plugin() -> None:
    """It has all fields that QGIS's plugin repository requires, with our addresses."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "plugins" / "swin2sr_ops_qgis" / "provider" / "metadata.txt", encoding="utf-8")
    needed = {
        "name",
        "qgisminimumversion",
        "description",
        "about",
        "version",
        "author",
        "email",
        "repository",
        "tracker",
    }
    assert needed <= set(parser["general"])
