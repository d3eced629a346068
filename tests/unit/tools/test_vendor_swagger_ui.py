import base64
import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import vendor_swagger_ui

NOTICE = (vendor_swagger_ui.ROOT / "NOTICE").read_text(encoding="utf-8")
FILES = {"ui.js": b"let it = be;", "ui.css": b"* {}"}


def package(files: dict[str, bytes]) -> bytes:
    """Return a tarball like those of npm."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tarball:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            tarball.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pin a release of two files, and return the folder for its files."""
    monkeypatch.setattr(vendor_swagger_ui, "ROOT", tmp_path)
    monkeypatch.setattr(vendor_swagger_ui, "VENDORED", tmp_path / "ui")
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    monkeypatch.setattr(vendor_swagger_ui, "SHA256", digests)
    return tmp_path / "ui"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve a package on loopback instead of the registry, and return its file."""
    tarball = tmp_path / "ui.tgz"
    tarball.write_bytes(package(FILES | {"index.html": b"not copied"}))
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that http.server calls
            self.send_response(200)
            self.end_headers()
            self.wfile.write(tarball.read_bytes())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(vendor_swagger_ui, "TARBALL", f"http://127.0.0.1:{server.server_address[1]}/ui.tgz")
        monkeypatch.setattr(vendor_swagger_ui, "INTEGRITY", integrity)
        yield tarball
        server.shutdown()


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["vendor_swagger_ui", *arguments])
    return vendor_swagger_ui.main()


def test_the_files_in_the_repository_are_those_of_the_release():
    assert vendor_swagger_ui.differences(vendor_swagger_ui.vendored()) == []


def test_the_notice_has_the_release_and_its_files():
    assert vendor_swagger_ui.TARBALL in NOTICE
    for name, digest in vendor_swagger_ui.SHA256.items():
        assert any(line.split() == [name, "sha256", digest] for line in NOTICE.splitlines()), name


@pytest.mark.usefixtures("registry")
def test_only_the_needed_files_of_the_release_are_written(repository: Path, monkeypatch: pytest.MonkeyPatch):
    assert run(monkeypatch) == 0
    assert {path.name: path.read_bytes() for path in repository.iterdir()} == FILES
    assert run(monkeypatch, "--check") == 0


def test_a_package_that_differs_from_the_pinned_one_is_an_error(
    repository: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
):
    registry.write_bytes(package(FILES | {"ui.js": b"steal();"}))
    with pytest.raises(SystemExit, match="; pinned is sha512-"):
        run(monkeypatch)
    assert list(repository.iterdir()) == []


@pytest.mark.usefixtures("repository")
def test_a_package_without_a_needed_file_is_an_error():
    with pytest.raises(SystemExit, match=r"does not contain ui\.css"):
        vendor_swagger_ui.unpack(package({"ui.js": b"let it = be;"}))


def test_check_names_the_files_that_differ(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    repository.mkdir()
    (repository / "ui.js").write_bytes(b"let it = not;")
    (repository / "more.js").write_bytes(b"")
    assert run(monkeypatch, "--check") == 1
    out, err = capsys.readouterr()
    assert [line.partition(",")[0] for line in out.splitlines()] == [
        "not in the release: more.js",
        "missing: ui.css",
        "differs: ui.js",
    ]
    assert "python -m tools.vendor_swagger_ui" in err
    assert (repository / "ui.js").read_bytes() == b"let it = not;"
