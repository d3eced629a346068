"""The files that a code host and an editor read: valid by their schemas, pinned, and calling only `.ci/run`."""

import re
import subprocess
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from tools import uv

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
SCHEMAS = {
    "workflows/ci.yml": "vendor.github-workflows",
    "dependabot.yml": "vendor.dependabot",
    "ISSUE_TEMPLATE/bug.yml": "vendor.github-issue-forms",
    "ISSUE_TEMPLATE/feature.yml": "vendor.github-issue-forms",
    "ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
}
WORKFLOW = (GITHUB / "workflows" / "ci.yml").read_text(encoding="utf-8")
JOBS = yaml.safe_load(WORKFLOW)["jobs"]
CI_RUN = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
TOOLS = {"ruff", "mypy", "lint-imports"}


def steps():
    return [step for job in JOBS.values() for step in job["steps"]]


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_file_for_the_code_host_is_valid(name):
    document = yaml.safe_load((GITHUB / name).read_text(encoding="utf-8"))

    jsonschema.Draft7Validator(get_builtin_schema(SCHEMAS[name])).validate(document)


def test_every_file_for_the_code_host_has_a_schema():
    files = {str(path.relative_to(GITHUB)) for path in GITHUB.rglob("*.yml")}

    assert files == set(SCHEMAS)


def test_every_action_is_pinned_by_a_commit_and_names_its_release():
    uses = re.findall(r"uses: (.*)", WORKFLOW)

    assert len(uses) >= 3
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line) for line in uses), uses


def test_the_workflow_may_only_read_and_every_job_has_a_limit():
    assert yaml.safe_load(WORKFLOW)["permissions"] == {"contents": "read"}
    assert JOBS
    assert all("permissions" not in job and job["timeout-minutes"] <= 90 for job in JOBS.values())


def test_the_workflow_runs_the_oldest_and_the_newest_python():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest, end = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups()

    newest_with_tensorflow = uv.WITHOUT_TENSORFLOW[1] - 1
    assert JOBS["test"]["strategy"]["matrix"]["python"] == [f"3.{oldest}", f"3.{newest_with_tensorflow}"]
    assert JOBS["without-tensorflow"]["container"]["image"] == f"python:3.{int(end) - 1}-bookworm"


def test_the_workflow_runs_on_every_system_that_is_supported():
    assert {job["runs-on"] for job in JOBS.values()} == {"ubuntu-24.04", "ubuntu-24.04-arm", "macos-15"}


def test_the_workflow_runs_every_step_of_ci_run_and_nothing_of_its_own():
    commands = [step["run"] for step in steps() if "run" in step and not step["run"].startswith("git config")]
    names = set(re.findall(r"^    (\w+)\) ", CI_RUN, re.MULTILINE)) - {"all"}

    assert (
        {command.removeprefix(".ci/run ") for command in commands}
        == names
        == {"packages", "lint", "test", "serve", "smoke", "client"}
    )


def test_ci_run_refuses_an_unknown_step():
    done = subprocess.run([ROOT / ".ci" / "run", "deploy"], capture_output=True, text=True, check=False, timeout=20)

    assert done.returncode == 2
    assert "'deploy' is not a step" in done.stderr


def test_hooks_before_a_commit_run_the_locked_tools():
    hooks = [
        hook
        for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
        for hook in repository["hooks"]
    ]
    programs = {hook["entry"].split()[0] for hook in hooks}

    assert programs == {f".venv/bin/{tool}" for tool in TOOLS}
    assert all((ROOT / program).is_file() for program in programs)
    assert all(hook["language"] == "system" for hook in hooks)
