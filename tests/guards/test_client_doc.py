"""docs/client.md documents every option of the command with its default, and every method and error of the package."""

import inspect
import re
from pathlib import Path

import pytest
import typer

import image_gateway_client
from image_gateway_client import Client
from image_gateway_client.cli import app
from image_gateway_client.files import SUFFIXES

DOC = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")
CLASSIFY = typer.main.get_command(app).commands["classify"]
OPTIONS = [parameter for parameter in CLASSIFY.params if parameter.param_type_name == "option"]


def rows():
    """The cells of every table row, by the names in the first."""
    for line in re.findall(r"^\| `.*", DOC, re.MULTILINE):
        first, *others = (cell.strip() for cell in line.strip("|").split("|"))
        for name in re.findall(r"`([^`]+)`", first):
            yield name, others


DOCUMENTED = dict(rows())


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.opts[0])
def test_every_option_is_documented_with_its_default(option):
    _, default = DOCUMENTED[option.opts[0]]
    if isinstance(option.default, int | float):
        assert default == f"{option.default:g}"
    elif option.name == "url":
        assert default == f"`{option.default}`"


def test_no_other_option_is_documented():
    documented = {name for name in DOCUMENTED if name.startswith("--")}
    assert documented == {option.opts[0] for option in OPTIONS}


def test_every_method_and_every_error_is_documented():
    methods = [name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")]
    named = {name.partition("(")[0] for name in DOCUMENTED}
    assert set(methods) - {"close"} <= named
    errors = [name for name in image_gateway_client.__all__ if name.endswith("Error")]
    assert set(errors) - {"ImageGatewayError"} <= named


def test_the_suffixes_are_documented():
    assert set(re.findall(r"\.[a-z]+", DOC.split("files that end in `")[1].split("`")[0])) == SUFFIXES
