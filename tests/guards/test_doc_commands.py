"""Commands in the documentation work in the shells and with the curl that people have."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "client/README.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
    ROOT / "gateway" / "static" / "snippets.js",
]
COMMAND = re.compile(r"^\s*curl .*$", re.MULTILINE)
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def test_curl_needs_no_recent_version():
    texts = {file: file.read_text(encoding="utf-8") for file in FILES}

    assert any("curl " in text for text in texts.values())
    assert [str(file) for file, text in texts.items() if re.search(r"curl .*--json|`--json \$", text)] == []


def test_no_address_is_expanded_by_zsh():
    commands = [command for file in FILES for command in COMMAND.findall(file.read_text(encoding="utf-8"))]

    assert len(commands) > 10
    assert [command for command in commands if re.search(r"[?*\[]", QUOTED.sub("", command).partition(" #")[0])] == []
