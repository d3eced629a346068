"""`python -m bench` in an environment without the packages of the alternatives."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
WITHOUT_ONNXRUNTIME = """
import runpy, sys
sys.modules["onnxruntime"] = None
runpy.run_module("bench", run_name="__main__", alter_sys=True)
"""


def bench(argument: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_ONNXRUNTIME, argument]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_help_needs_no_packages_of_alternatives():
    done = bench("--help")

    assert done.returncode == 0
    assert "--quick" in done.stdout


def test_missing_packages_are_named_with_the_command_that_installs_them():
    done = bench("--quick")

    assert done.returncode == 1
    assert "onnxruntime" in done.stderr
    assert done.stderr.endswith("Run: make .venv/.bench-ready\n")
    assert "Traceback" not in done.stderr
