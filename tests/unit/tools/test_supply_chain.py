"""The lock file, the bill of materials generated from it, and the search for known vulnerabilities."""

import http.server
import json
import re
import subprocess
import threading
import tomllib
from contextlib import contextmanager

import pytest

from tools import audit

LOCK = tomllib.loads((audit.ROOT / "uv.lock").read_text(encoding="utf-8"))
LOCKED = {package["name"]: package for package in LOCK["package"] if "registry" in package["source"]}
SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
UNUSED_PORT = "http://127.0.0.1:1"


class Vulnerabilities(http.server.BaseHTTPRequestHandler):
    """A replacement for OSV (https://google.github.io/osv.dev/post-v1-querybatch/)."""

    def do_POST(self):
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        self.server.names += [query["package"]["name"] for query in queries]
        vulnerable = {"vulns": [{"id": "OSV-1", "modified": "2026-01-01T00:00:00Z"}]}
        self.answer(
            {"results": [vulnerable if query["package"]["name"] in self.server.bad else {} for query in queries]}
        )

    def do_GET(self):
        span = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}
        affected = [{"package": {"name": "flask", "ecosystem": "PyPI"}, "ranges": [span]}]
        moments = dict.fromkeys(("modified", "published"), "2026-01-01T00:00:00Z")
        self.answer({"id": "OSV-1", "summary": "It is bad.", "affected": affected, **moments})

    def answer(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Log nothing."""


@contextmanager
def vulnerabilities_of(*bad):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Vulnerabilities) as server:
        server.bad, server.names = bad, []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run_audit(server):
    return audit.main(["--service-url", f"http://127.0.0.1:{server.server_address[1]}"])


def test_every_locked_file_has_its_hash():
    assert len(LOCKED) > 50
    for name, package in LOCKED.items():
        files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
        assert files, name
        assert all(SHA256.fullmatch(file["hash"]) for file in files), name


def test_a_known_vulnerability_is_reported_and_fails(capsys):
    with vulnerabilities_of("flask") as server:
        assert run_audit(server) == 1
    output = capsys.readouterr().out
    assert "flask" in output
    assert "OSV-1: It is bad." in output


def test_every_package_is_looked_up(capsys):
    with vulnerabilities_of() as server:
        assert run_audit(server) == 0
    assert {"flask", "grpcio", "numpy", "opencv-python-headless", "redis", "ruff"} <= set(server.names) <= set(LOCKED)
    assert "no known vulnerabilities" in capsys.readouterr().out


def test_the_audit_is_skipped_without_a_network(capsys):
    assert audit.main(["--service-url", UNUSED_PORT]) == 0
    assert re.search(r"Known vulnerabilities: skipped, .*: Connection refused", capsys.readouterr().out)


def test_any_other_failure_is_not_skipped(capsys):
    assert audit.main(["--no-such-option"]) == 2
    assert "--no-such-option" in capsys.readouterr().out


@pytest.fixture(scope="module")
def bill(tmp_path_factory):
    """The bill of materials, written by `make sbom`."""
    file = tmp_path_factory.mktemp("sbom") / "folder" / "sbom.json"
    subprocess.run(["make", "sbom", f"SBOM={file}"], cwd=audit.ROOT, check=True, capture_output=True)
    return json.loads(file.read_text(encoding="utf-8"))


def test_the_bill_of_materials_is_cyclonedx(bill):
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert bill["metadata"]["component"]["name"] == "image-gateway"


def test_it_has_the_deployed_packages_in_their_locked_versions_and_no_test_tools(bill):
    listed = {component["name"]: component for component in bill["components"]}
    assert {"flask", "gunicorn", "grpcio", "opencv-python-headless", "redis", "tensorflow-cpu"} <= set(listed)
    assert not {"pytest", "ruff", "mypy"} & set(listed)
    for name in listed.keys() & LOCKED.keys():
        assert listed[name]["purl"].startswith(f"pkg:pypi/{name}@{listed[name]['version']}")
    assert listed["flask"]["version"] == LOCKED["flask"]["version"]
