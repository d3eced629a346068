"""`tools/uv.py install`: packages of a lock whose own addresses cannot be reached, from where pip or uv is sent."""

import base64
import hashlib
import io
import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.mirror import Mirror, serving
from tools import uv

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".tools" / "uv" / "bin" / "python"
PROGRAM = (ROOT / "tools" / "uv.py",)
CODE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tools import uv
uv.WITHOUT_TENSORFLOW = sys.version_info[:2]
sys.exit(uv.main(sys.argv[1:]))
"""
WITHOUT_TENSORFLOW = ("-c", CODE)
"""The same program where TensorFlow has no package for its Python."""
INSTALLING = "Installing packages into .venv ...\n"
UNREACHABLE = "http://127.0.0.1:1"
NAMES = ("one", "two")
PROJECT = """
[project]
name = "app"
version = "1"
requires-python = ">=3.11"
[project.optional-dependencies]
one = ["one"]
two = ["two"]
[tool.uv]
package = false
"""
LOCK = """
version = 1
requires-python = ">=3.11"
[[package]]
name = "app"
version = "1"
source = { virtual = "." }
[package.optional-dependencies]
one = [{ name = "one" }]
two = [{ name = "two" }]
"""
LOCKED_PACKAGE = """
[[package]]
name = "{name}"
version = "1"
source = {{ registry = "{UNREACHABLE}/simple" }}
wheels = [{{ url = "{UNREACHABLE}/{name}-1-py3-none-any.whl", hash = "sha256:{digest}" }}]
"""
pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="the environment was not made by make")


def make_wheel(name: str, text: str = "") -> bytes:
    """Return the wheel of a package of one module."""
    info = f"{name}-1.dist-info"
    files = {
        f"{name}.py": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        path: base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        for path, content in files.items()
    }
    files[f"{info}/RECORD"] = "".join(f"{path},sha256={digest},\n" for path, digest in digests.items())
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for path, content in files.items():
            file.writestr(zipfile.ZipInfo(path), content)  # without the time, on which the digest would depend
    return archive.getvalue()


@dataclass(frozen=True, slots=True)
class Project:
    """A project with a lock, and the mirror that has its packages."""

    folder: Path
    mirror: Mirror

    def publish(self, name: str, wheel: bytes) -> None:
        """Let the mirror serve a wheel, and the page of its package (PEP 503)."""
        file = f"{name}-1-py3-none-any.whl"
        digest = hashlib.sha256(wheel).hexdigest()
        self.mirror.files[f"/simple/{name}/"] = f'<a href="/files/{file}#sha256={digest}">{file}</a>'.encode()
        self.mirror.files[f"/files/{file}"] = wheel

    def lock_at(self, address: str) -> None:
        """Let the lock name addresses at another server."""
        lock = self.folder / "uv.lock"
        lock.write_text(lock.read_text("utf-8").replace(UNREACHABLE, address), encoding="utf-8")

    def uv(
        self, *arguments: str, program: Sequence[str | Path] = PROGRAM, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `tools/uv.py` in the project, with these variables and none of this machine's."""
        own = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "UV_HTTP_RETRIES": "0",
            "PIP_CONFIG_FILE": os.devnull,
        }
        return subprocess.run(
            [PYTHON, *program, *arguments],
            cwd=self.folder,
            env={**own, "UV_CACHE_DIR": str(self.folder / "cache"), **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def install(self, *extras: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Install extras into the environment `.venv`."""
        return self.uv("install", ".venv", *(f"--extra={extra}" for extra in extras), **variables)

    def installed(self) -> set[str]:
        """Return the modules of the environment."""
        return {path.stem for path in self.folder.glob(".venv/lib/python*/site-packages/*.py")} - {"_virtualenv"}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project that was locked with an index that cannot be reached; the mirror can be."""
    digests = {name: hashlib.sha256(make_wheel(name)).hexdigest() for name in NAMES}
    packages = (
        LOCKED_PACKAGE.format(name=name, digest=digest, UNREACHABLE=UNREACHABLE) for name, digest in digests.items()
    )
    (tmp_path / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    (tmp_path / "uv.lock").write_text(LOCK + "".join(packages), encoding="utf-8")
    with serving() as mirror:
        project = Project(tmp_path, mirror)
        for name in NAMES:
            project.publish(name, make_wheel(name))
        yield project


def index(project: Project) -> str:
    return f"{project.mirror.url}/simple"


@pytest.mark.parametrize("variable", ["PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_packages_come_from_the_index_that_a_variable_names(project: Project, variable: str):
    done = project.install("one", **{variable: index(project)})

    assert done.returncode == 0, done.stderr
    assert project.installed() == {"one"}


def test_packages_come_from_the_index_of_pips_configuration(project: Project, tmp_path: Path):
    configuration = tmp_path / "pip.conf"
    configuration.write_text(f"[global]\nindex-url = {UNREACHABLE}\n[install]\nindex-url = {index(project)}\n", "utf-8")

    done = project.install("one", PIP_CONFIG_FILE=str(configuration), PIP_INDEX_URL="")

    assert done.returncode == 0, done.stderr
    assert project.installed() == {"one"}


def test_packages_come_from_the_addresses_of_the_lock_where_no_index_is_named(project: Project):
    project.lock_at(f"{project.mirror.url}/files")

    done = project.install("one")

    assert (done.returncode, done.stdout) == (0, INSTALLING), done.stderr
    assert " + one==1\n" in done.stderr
    assert project.installed() == {"one"}
    assert project.mirror.paths == ["/files/one-1-py3-none-any.whl"]


def test_the_environment_keeps_its_python(project: Project):
    project.lock_at(f"{project.mirror.url}/files")
    project.install("one")
    (project.folder / ".python-version").write_text("3.99", encoding="utf-8")

    done = project.install("two", UV_PYTHON="3.98")

    assert (done.returncode, done.stdout) == (0, "Updating the packages in .venv ...\n"), done.stderr
    assert project.installed() == {"one", "two"}
    assert "/simple/two/" not in project.mirror.paths


def test_where_the_addresses_of_the_lock_cannot_be_reached_the_index_of_uvs_configuration_is_asked(
    project: Project, tmp_path: Path
):
    configuration = tmp_path / "uv" / "uv.toml"
    configuration.parent.mkdir()
    configuration.write_text(f'[[index]]\nurl = "{index(project)}"\ndefault = true\n', encoding="utf-8")

    done = project.install("one", XDG_CONFIG_HOME=str(tmp_path))

    assert done.returncode == 0, done.stderr
    assert project.installed() == {"one"}


def test_packages_come_from_a_folder(project: Project, tmp_path: Path):
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "one-1-py3-none-any.whl").write_bytes(make_wheel("one"))

    done = project.install("one", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "wheels"))

    assert done.returncode == 0, done.stderr
    assert project.installed() == {"one"}


def test_without_a_mirror_the_variable_is_named(project: Project):
    done = project.install("one", UV_DEFAULT_INDEX="", HTTPS_PROXY=UNREACHABLE)

    assert done.returncode != 0
    assert done.stderr.endswith("Where packages come through a mirror, set PIP_INDEX_URL to its address.\n")


@pytest.mark.parametrize("variable", ["PIP_INDEX_URL", "UV_INDEX"])
def test_another_file_than_the_locked_one_is_refused(project: Project, variable: str):
    project.lock_at(f"{project.mirror.url}/files")
    project.publish("one", make_wheel("one", "print('changed')"))

    done = project.install("one", **{variable: index(project)})

    assert done.returncode != 0
    assert project.installed() == set()


def test_what_is_installed_stays(project: Project):
    project.install("one", PIP_INDEX_URL=index(project))
    project.install("two", PIP_INDEX_URL=index(project))

    assert project.installed() == {"one", "two"}


def test_an_environment_whose_python_is_gone_is_made_again(project: Project):
    project.install("one", PIP_INDEX_URL=index(project))
    python = project.folder / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/gone/python")

    project.install("two", PIP_INDEX_URL=index(project))

    assert project.installed() == {"two"}


def test_packages_without_tensorflow_need_no_older_python(project: Project):
    arguments = ("install", ".venv", "--extra", "one")

    done = project.uv(*arguments, program=WITHOUT_TENSORFLOW, PIP_INDEX_URL=index(project))

    assert (done.returncode, done.stdout) == (0, INSTALLING), done.stderr
    assert project.installed() == {"one"}


@pytest.mark.parametrize(
    "selection", [("--all-extras",), ("--extra=tensorflow",), ("--extra", "train"), ("--group", "gpu")]
)
def test_an_older_python_for_tensorflow_that_is_missing_is_named(project: Project, selection: Sequence[str]):
    arguments = ("install", ".venv", *selection)

    done = project.uv(*arguments, program=WITHOUT_TENSORFLOW, PIP_INDEX_URL=index(project), UV_PYTHON_DOWNLOADS="never")

    version = "{}.{}".format(*sys.version_info)
    assert done.returncode == 1
    assert (
        done.stdout.partition(" ...\n")[2]
        == f"TensorFlow has no package for Python {version}: using an older Python.\n"
    )
    assert f"This needs Python >=3.11,<{version}, and there is none." in done.stderr
    assert "set UV_PYTHON_DOWNLOADS=automatic" in done.stderr


def test_an_environment_is_used_only_with_a_python_that_its_packages_are_for():
    python, own = Path(sys.executable), sys.version_info[:2]

    assert uv.is_usable(python, (own[0], own[1] + 1))
    assert not uv.is_usable(python, own)
    assert not uv.is_usable(Path("/gone/python"), uv.PYTHONS[1])


def test_python_starts_in_every_locale_and_folder(tmp_path: Path):
    folder = tmp_path / "büro (1) & co"
    (folder / "client").mkdir(parents=True)
    (folder / "client" / "installed.py").touch()
    venv.create(folder / ".venv", symlinks=True)
    (packages,) = folder.glob(".venv/lib/python*/site-packages")
    (packages / "_editable_impl_client.pth").write_text(str(folder / "client"), encoding="utf-8")

    uv.make_paths_relative(packages)

    for locale in ("C", "POSIX", "C.UTF-8"):
        command = [folder / ".venv/bin/python", "-c", "import installed"]
        done = subprocess.run(command, env={"LC_ALL": locale}, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ({"cert": "/ca.pem", "trusted-host": "mirror"}, {}, {"SSL_CERT_FILE": "/ca.pem", "UV_INSECURE_HOST": "mirror"}),
        ({"proxy": "http://proxy:3128"}, {}, dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY"), "http://proxy:3128")),
        ({"index-url": "http://a"}, {"UV_INDEX_URL": "http://b"}, {}),
        ({"extra-index-url": "http://a"}, {}, {}),
    ],
)
def test_options_of_pip_apply_to_uv(options: Mapping[str, str], environment: Mapping[str, str], expected):
    assert uv.variables(options, environment) == {"UV_PYTHON_DOWNLOADS": "never", **expected}


def test_versions_of_python_are_those_of_the_project():
    (line,) = (line for line in (ROOT / "pyproject.toml").read_text("utf-8").splitlines() if "requires-python" in line)

    assert line == 'requires-python = ">={}.{},<{}.{}"'.format(*uv.PYTHONS[0], *uv.PYTHONS[1])
    assert uv.is_supported(sys.version_info[:2])
    assert not uv.is_supported(uv.PYTHONS[1])


def test_tensorflow_has_the_versions_of_python_that_the_project_says():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]

    names = [line for line in extras["tensorflow"] if line.startswith("tensorflow")]
    assert names
    assert all("python_version < '{}.{}'".format(*uv.WITHOUT_TENSORFLOW) in line for line in names)
