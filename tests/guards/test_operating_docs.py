"""docs/operating has complete runbooks, and messages as the programs write them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNBOOKS = (ROOT / "docs/operating/runbooks.md").read_text(encoding="utf-8")
TROUBLESHOOTING = (ROOT / "docs/operating/troubleshooting.md").read_text(encoding="utf-8")
SOURCES = ("Makefile", "client/**/*.py", "gateway/**/*.py", "model_server/**/*.py", "tools/**/*.py", "vision/**/*.py")
PARTS = ["What it means.", "What to check.", "What to do."]
MIN_MESSAGES = 20
NOT_OURS = {
    "make: command not found",
    "No module named 'typer'",
    "'tools'",
    "'train'",
    "image-gateway: command not found",
    "No matching distribution found for tensorflow-cpu",
    "externally-managed-environment",
    "CERTIFICATE_VERIFY_FAILED",
    "Connection refused",
    "curl: (26) Failed to open/read local data",
    "Argument list too long",
    "zsh: no matches found",
    "curl: option --json: is unknown",
    "blocked by CORS policy",
    "The body is 11.3 MB; at most 10 MB is accepted",
}
"""Messages of shells, pip, curl and browsers, and one with numbers."""


def sections():
    """Return the text of each section of the runbooks by its heading."""
    parts = re.split(r"^## (.+)$", RUNBOOKS, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_runbook_says_what_it_means_what_to_check_and_what_to_do():
    runbooks = {heading: text for heading, text in sections().items() if " " not in heading}

    assert len(runbooks) > 10
    for heading, text in runbooks.items():
        assert [part for part in PARTS if f"**{part}**" not in text] == [], heading


def fragments():
    """Return the texts of messages in the first cells of the tables; an ellipsis stands for what varies."""
    for row in re.findall(r"^\| (`.*?) \|", TROUBLESHOOTING, re.MULTILINE):
        for message in re.findall(r"`([^`]+)`", row):
            if message not in NOT_OURS:
                yield from (part.strip() for part in message.split("…") if part.strip())


def test_every_message_is_one_of_the_programs():
    source = "\n".join(path.read_text(encoding="utf-8") for glob in SOURCES for path in sorted(ROOT.glob(glob)))
    source = re.sub(r"""["']\s*\n\s*f?["']""", "", source)  # literals that are split over lines
    messages = list(fragments())

    assert len(messages) >= MIN_MESSAGES
    assert [message for message in messages if message not in source] == []
