"""The program of docs/guides/languages/typescript.md compiles with types of the service, and classifies photos."""

from pathlib import Path

import pytest

from tests.support import documents, generators
from tests.support.documents import ROOT
from tests.support.stack import RunningStack

PAGE = "docs/guides/languages/typescript.md"
PHOTOS = (ROOT / "examples" / "macaws.jpg", ROOT / "README.md")

pytestmark = pytest.mark.timeout(300)


def test_the_program_classifies_photos(stack: RunningStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    generators.require_tools()
    (program,) = [block.text for block in documents.blocks() if (block.page, block.kind) == (PAGE, "ts")]
    workshop = generators.Workshop(tmp_path)
    workshop.shell(f"openapi-typescript {stack.url}/api/v1/openapi.json --output gateway.d.ts")
    monkeypatch.setenv("IMAGE_GATEWAY_URL", stack.url)

    macaw, text = workshop.run_typescript(program, *PHOTOS).splitlines()

    assert macaw.startswith(f"{PHOTOS[0]}: macaw 0.9")
    assert text.startswith(f"{PHOTOS[1]}: The image format is not accepted: ")
