"""Fuzz all targets: `python -m tests.fuzz MINUTES`, which are divided among them. Exits with 1 if one fails.

An input that makes a target fail is written to .fuzz/TARGET. Add it to tests/fuzz/corpus/TARGET when you fix the bug.
"""

import subprocess
import sys
from pathlib import Path

from tests.fuzz.test_corpus import CORPUS, TARGETS

ROOT = Path(__file__).parents[2]
LIMITS = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=1048576"]


def main(minutes: float) -> int:
    failed = 0
    for target in TARGETS:
        work = ROOT / ".fuzz" / target
        (work / "corpus").mkdir(parents=True, exist_ok=True)
        seconds = max(1, round(minutes * 60 / len(TARGETS)))
        command = [sys.executable, "-m", "tests.fuzz.explore", target, str(work / "corpus"), str(CORPUS / target)]
        command += [f"-artifact_prefix={work}/", f"-max_total_time={seconds}", *LIMITS]
        failed += subprocess.run(command, cwd=ROOT, check=False).returncode != 0
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 1))
