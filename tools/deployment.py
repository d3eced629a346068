"""Check the deployment files without deploying them; `make lint` calls this.

    python -m tools.deployment

hadolint checks Dockerfiles, the schema of the Compose specification checks Compose files, the schemas of Kubernetes
check the output of kustomize, and nginx checks its configuration with the values of each deployment. A check whose
program is not installed is skipped and reported as such.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from tools import compose, nginx

ROOT = Path(__file__).parents[1]
KUBERNETES = ROOT / "deploy" / "kubernetes"
CUSTOM_SCHEMAS = Path(__file__).with_name("custom_resources.yaml")
# The oldest version with every feature used (metrics of a single container), and the newest with schemas here.
KUBERNETES_VERSIONS = ("1.30", kubernetes_validate.latest_version())
TIMEOUT_S = 60


class NotInstalledError(Exception):
    """The program of a check is not installed; the message names it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every check, print its result, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.deployment", description=(__doc__ or "").partition("\n")[0])
    parser.parse_args(arguments)
    checks: Mapping[str, Callable[[], Iterator[str]]] = {
        "Dockerfiles": dockerfile_faults,
        "Compose files": compose_faults,
        "Kubernetes": kubernetes_faults,
        "nginx": nginx_faults,
    }
    failed = False
    for name, check in checks.items():
        try:
            faults = list(check())
        except NotInstalledError as error:
            print(f"{name}: NOT CHECKED, {error} is not installed")
            continue
        print("\n".join(f"{name}: {fault}" for fault in faults) or f"{name}: ok")
        failed = failed or bool(faults)
    return int(failed)


def dockerfile_faults() -> Iterator[str]:
    """Check every Dockerfile with hadolint.

    Raises:
        NotInstalledError: hadolint is not installed.
    """
    result = _run("hadolint", "--no-color", *map(str, dockerfiles()))
    if result.returncode != 0:
        yield from (result.stdout + result.stderr).strip().splitlines()


def dockerfiles() -> list[Path]:
    """Return the Dockerfiles of the repository."""
    folders = (path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(file for folder in folders for file in folder.rglob("*Dockerfile"))


def compose_faults() -> Iterator[str]:
    """Validate every Compose file against the schema of the Compose specification."""
    validator = jsonschema.Draft202012Validator(get_builtin_schema("vendor.compose-spec"))
    for file in compose.files():
        for error in validator.iter_errors(compose.load(file)):
            yield f"{file.name}: {error.json_path}: {error.message}"


def kubernetes_faults() -> Iterator[str]:
    """Render every kustomization and validate each object against its schema.

    Raises:
        NotInstalledError: kubectl is not installed.
    """
    for folder in kustomizations():
        for resource in render(folder):
            name = f"{folder.relative_to(KUBERNETES)}: {resource['kind']} {resource['metadata']['name']}"
            yield from (f"{name}: {fault}" for fault in resource_faults(resource))


def kustomizations() -> list[Path]:
    """Return the folders that can be applied: the base, the overlays and the variant for KServe."""
    overlays = sorted(path for path in (KUBERNETES / "overlays").iterdir() if path.is_dir())
    return [KUBERNETES / "base", *overlays, KUBERNETES / "kserve"]


def render(folder: Path) -> list[dict[str, Any]]:
    """Return the objects of a kustomization.

    Raises:
        NotInstalledError: kubectl is not installed.
        SystemExit: It cannot be rendered.
    """
    result = _run("kubectl", "kustomize", str(folder))
    if result.returncode != 0:
        raise SystemExit(f"{folder}: {result.stderr.strip()}")
    return [resource for resource in yaml.safe_load_all(result.stdout) if resource]


def resource_faults(resource: Mapping[str, Any]) -> Iterator[str]:
    """Validate an object against Kubernetes' schemas, and custom resources against our own schemas."""
    custom = yaml.safe_load(CUSTOM_SCHEMAS.read_text(encoding="utf-8")).get(resource["kind"])
    if custom is not None:
        errors = jsonschema.Draft202012Validator(custom).iter_errors(resource)
        yield from (f"{error.json_path}: {error.message}" for error in errors)
        return
    for version in KUBERNETES_VERSIONS:
        try:
            kubernetes_validate.validate(resource, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError as error:
            yield error.message
        except kubernetes_validate.ValidationError as error:
            yield f"{error.json_path}: {error.message} (Kubernetes {version})"


def nginx_faults() -> Iterator[str]:
    """Check nginx's configuration with the values of each deployment.

    Raises:
        NotInstalledError: nginx is not installed.
    """
    program = nginx.find()
    if program is None:
        raise NotInstalledError("nginx")
    for name, values in nginx_variants().items():
        with tempfile.TemporaryDirectory() as folder:
            configuration = Path(folder) / "nginx.conf"
            # nginx would look up the name of the real upstream.
            test_values = {**values, "NGINX_UPSTREAM": "127.0.0.1:8000"}
            configuration.write_text(nginx.render(test_values), encoding="utf-8")
            result = _run(*nginx.command(program, configuration), "-t", "-q")
        if result.returncode != 0:
            yield f"{name}: {result.stderr.strip()}"


def nginx_variants() -> dict[str, Mapping[str, str]]:
    """Return the values of nginx's template by deployment."""
    names = set(re.findall(r"\$\{([A-Z_]+)\}", nginx.TEMPLATE.read_text(encoding="utf-8")))
    in_compose = compose.environment(compose.load(compose.BASE)["services"]["nginx"])
    deployment = yaml.safe_load((KUBERNETES / "base" / "gateway" / "deployment.yaml").read_text(encoding="utf-8"))
    (container,) = (item for item in deployment["spec"]["template"]["spec"]["containers"] if item["name"] == "nginx")
    in_kubernetes = {variable["name"]: variable["value"] for variable in container["env"]}
    variants = {
        "docker-compose.yml": in_compose,
        "deploy/kubernetes": in_kubernetes,
        "make run": {"NGINX_LISTEN": "127.0.0.1:8080"},
        "behind a proxy": {"NGINX_LISTEN": "8080", "NGINX_TRUSTED_PROXY": "10.0.0.0/8"},
    }
    return {
        variant: {name: value for name, value in values.items() if name in names}
        for variant, values in variants.items()
    }


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Programs from Python packages are in the folder of the interpreter.
    path = shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))
    if path is None:
        raise NotInstalledError(program)
    return subprocess.run((path, *arguments), capture_output=True, text=True, check=False, timeout=TIMEOUT_S)


if __name__ == "__main__":
    sys.exit(main())
