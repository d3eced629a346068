"""The command; see the package."""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMMAND = ROOT / ".tools" / "lighthouse" / "node_modules" / "lighthouse" / "cli" / "index.js"
PAGES = ("", "models", "compare", "docs", "problems")
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
CATEGORIES = {"performance": False, "accessibility": True, "best-practices": True}
"""The categories, and whether a score below `LOWEST` fails."""
LOWEST = 95
PAGE_S = 120
FLAGS = "--headless=new --no-sandbox --disable-gpu"


def main() -> None:
    """Rate each page, and exit with status 1 if one is rated too low."""
    parser = argparse.ArgumentParser(prog="python -m tools.lighthouse", description="Rate pages with Lighthouse.")
    parser.add_argument("--url", default="http://localhost:8080", help="URL of the service (default: %(default)s)")
    parser.add_argument("--pages", nargs="*", default=PAGES, help="paths of the pages (default: all)")
    arguments = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        sys.exit("Chromium is not installed. Install it, for example with: apt-get install chromium")
    failed = False
    for page in arguments.pages:
        report = rate(f"{arguments.url.rstrip('/')}/{page}", chromium)
        scores = read_scores(report)
        print(f"/{page:<10}" + "  ".join(f"{name} {score:.0f}" for name, score in scores.items()))
        for finding in list_findings(report):
            print(f"    {finding}")
        failed |= any(scores[name] < LOWEST for name, is_required in CATEGORIES.items() if is_required)
    if failed:
        sys.exit(f"A page is rated below {LOWEST}.")


def rate(url: str, chromium: str) -> dict[str, Any]:
    """Return Lighthouse's report about a page.

    Raises:
        SystemExit: The page cannot be opened.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "report.json")
        command = ["node", str(COMMAND), url, "--quiet", "--output=json", f"--output-path={output}"]
        command += [f"--only-categories={','.join(CATEGORIES)}", f"--chrome-flags={FLAGS}", "--preset=desktop"]
        environment = {"PATH": _path(), "HOME": folder, "CHROME_PATH": chromium}
        process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PAGE_S, check=False)
        if process.returncode or not output.exists():
            sys.exit(f"{url} cannot be rated: {process.stderr.strip()[-500:]}")
        report: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
        return report


def read_scores(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the score of each category, from 0 to 100."""
    return {name: 100 * (report["categories"][name]["score"] or 0) for name in CATEGORIES}


def list_findings(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield what lowers a score: the audits that have a weight and are not passed."""
    for name in CATEGORIES:
        for reference in report["categories"][name]["auditRefs"]:
            audit = report["audits"][reference["id"]]
            if reference["weight"] and audit["score"] is not None and audit["score"] < 1:
                yield f"{name}: {audit['title']} ({audit['score']:.2f})"


def _path() -> str:
    node = shutil.which("node")
    if node is None:
        sys.exit("Node is not installed. Run: make lighthouse")
    return f"{Path(node).parent}:/usr/bin:/bin"


if __name__ == "__main__":
    main()
