"""Commands in the documentation work in the shells and with the curl that people have."""

import re
from pathlib import Path

from tests.support import documents

ROOT = Path(__file__).parents[2]
FILES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "client/README.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("examples/*.sh")),
    ROOT / "gateway" / "static" / "snippets.js",
]
COMMAND = re.compile(r"^\s*curl .*$", re.MULTILINE)
RECENT_OPTIONS = re.compile(r"curl .*--(?:json|fail-with-body|retry-all-errors|url-query|variable|expand-)|`--json \$")
"""Options of curl that came after 7.68, which Ubuntu 20.04 has."""
NOT_PORTABLE = re.compile(r"[ @]<\(|<<<|\b(?:sed -i |base64 -w|readlink -f |grep -\w*P|date -d )")
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def test_curl_needs_no_recent_version():
    texts = {file: file.read_text(encoding="utf-8") for file in FILES}

    assert any("curl " in text for text in texts.values())
    assert [str(file) for file, text in texts.items() if RECENT_OPTIONS.search(text)] == []


def test_no_command_needs_more_than_a_posix_shell_and_the_tools_of_macos():
    texts = {file: file.read_text(encoding="utf-8") for file in FILES}

    assert any("base64 <" in text for text in texts.values())
    assert [str(file) for file, text in texts.items() if NOT_PORTABLE.search(text)] == []


def test_no_address_is_expanded_by_zsh():
    commands = [command for file in FILES for command in COMMAND.findall(file.read_text(encoding="utf-8"))]

    assert len(commands) > 10
    assert [command for command in commands if re.search(r"[?*\[]", QUOTED.sub("", command).partition(" #")[0])] == []


def test_a_page_with_commands_of_the_environment_names_it():
    pages = {
        block.page
        for block in documents.blocks()
        if block.kind == documents.SHELL and re.search(r"^(?:python -m|image-gateway) ", block.text, re.MULTILINE)
    }

    assert len(pages) > 5
    named = re.compile(r"bin/activate|#the-environment-of-the-checkout")
    assert [page for page in sorted(pages) if not named.search((ROOT / page).read_text(encoding="utf-8"))] == []


def test_no_command_has_a_comment_which_zsh_takes_for_arguments():
    commands = [
        line for block in documents.blocks() if block.kind == documents.SHELL for line in block.text.splitlines()
    ]

    assert len(commands) > 100
    assert [command for command in commands if re.search(r"(?:^|\s)#", QUOTED.sub("", command))] == []
