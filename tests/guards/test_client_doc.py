"""The pages on the client document every option of the command with its default, and every method and error."""

import inspect
import re
from pathlib import Path

import typer

import image_gateway_client
from image_gateway_client import Client
from image_gateway_client.cli import app
from image_gateway_client.files import SUFFIXES

DOCS = Path(__file__).parents[2] / "docs"
DOC = "\n".join((DOCS / page).read_text(encoding="utf-8") for page in ("guides/client.md", "reference/cli.md"))
CLASSIFY = typer.main.get_command(app).commands["classify"]
OPTIONS = [parameter for parameter in CLASSIFY.params if parameter.param_type_name == "option"]


def rows():
    """Yield each name in the first cell of a table row, with the other cells."""
    for line in re.findall(r"^\| `.*", DOC, re.MULTILINE):
        first, *others = (cell.strip() for cell in line.strip("|").split("|"))
        for name in re.findall(r"`([^`]+)`", first):
            yield name, others


DOCUMENTED = dict(rows())


def test_every_option_is_documented_with_its_default():
    for option in OPTIONS:
        name = option.opts[0]
        _, default = DOCUMENTED[name]
        if isinstance(option.default, int | float):
            assert default == f"{option.default:g}", name
        elif option.name == "url":
            assert default == f"`{option.default}`", name


def test_no_other_option_is_documented():
    documented = {name for name in DOCUMENTED if name.startswith("--")}

    assert documented
    assert documented == {option.opts[0] for option in OPTIONS}


def test_every_method_and_every_error_is_documented():
    methods = {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}
    errors = {name for name in image_gateway_client.__all__ if name.endswith("Error")}
    names = {name.partition("(")[0] for name in DOCUMENTED}

    assert {"close", "classify"} <= methods
    assert methods | {"from_env"} <= names
    assert "ImageGatewayError" in errors
    assert errors - {"ImageGatewayError"} <= names


def test_every_subcommand_is_documented():
    def paths(group, prefix=""):
        for name, command in group.commands.items():
            yield from paths(command, f"{prefix}{name} ") if hasattr(command, "commands") else [prefix + name]

    names = list(paths(typer.main.get_command(app)))

    assert {"classify", "jobs wait", "keys remove", "serve"} <= set(names)
    assert [name for name in names if f"`{name}" not in DOC and f"image-gateway {name}" not in DOC] == []


def test_every_public_name_of_the_package_is_documented_or_part_of_another():
    classes = {name for name in image_gateway_client.__all__ if f"`{name}" not in DOC}

    assert classes <= {"Explanation", "JobModel", "ModelVersion", "Prediction", "VersionState", "Webhook", "Batch"}


def test_every_argument_of_a_client_is_documented():
    parameters = inspect.signature(Client.__init__).parameters.values()
    arguments = {item.name for item in parameters if item.kind is not item.VAR_KEYWORD} - {"self", "url"}

    assert {"api_key", "timeout_s"} <= arguments
    assert [name for name in arguments if f"`{name}" not in DOC] == []


def test_the_suffixes_are_documented():
    assert set(re.findall(r"\.[a-z]+", DOC.split("files that end in `")[1].split("`")[0])) == SUFFIXES
