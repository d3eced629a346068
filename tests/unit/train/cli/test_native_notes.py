"""Notes of native code are dropped; its errors, also those that end the process, and Python's messages are shown."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
NOTES = (
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1796034450.054765   10855 devices.cc:76] Number of eligible GPUs: 0",
    "W0000 00:00:1796034204.298968   10188 tf_tfl_flatbuffer_helpers.cc:364] Ignored output_format.",
    "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
)


@pytest.mark.parametrize(("ending", "status"), [("", 0), ("os.abort()", -signal.SIGABRT)])
def test_only_notes_are_dropped(ending: str, status: int):
    native = "\n".join([*NOTES, "F0000 00:00:1796034450.1 7 x.cc:1] Check failed", ""])
    code = f"""
import os, sys
from train.cli.native_notes import hide_native_notes
hide_native_notes()
print("a message of Python", file=sys.stderr)
os.write(2, {native.encode()})
{ending}
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == status
    assert sorted(done.stderr.splitlines()) == [
        "F0000 00:00:1796034450.1 7 x.cc:1] Check failed",
        "a message of Python",
    ]


def test_a_closed_standard_error_is_no_problem():
    code = "import os; from train.cli.native_notes import hide_native_notes; hide_native_notes(); print('done')"

    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" 2>&-', sys.executable, code], cwd=ROOT, stdout=subprocess.PIPE, check=False
    )

    assert done.stdout == b"done\n"


def test_the_process_goes_on_alone_after_the_screen_was_closed():
    code = """
import os, sys
from train.cli.native_notes import hide_native_notes
hide_native_notes()
os.write(2, b"an error\\n")
os.close(2)
os.close(sys.stderr.fileno())
os.wait()
print("done")
"""
    reader, writer = os.pipe()
    os.close(reader)

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=writer, check=False)
    os.close(writer)

    assert done.stdout == b"done\n"
