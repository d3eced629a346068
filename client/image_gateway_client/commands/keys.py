"""`image-gateway keys`, for the operator of a gateway."""

from pathlib import Path
from typing import Annotated

import typer

from image_gateway_client.commands.options import as_bad_parameter
from image_gateway_client.keys import add_key, list_keys, remove_key
from image_gateway_client.outputs import check_standard_output

app = typer.Typer(no_args_is_help=True, help="Create, list and remove the API keys of a gateway; for its operator.")

Name = Annotated[str, typer.Argument(help="Name of the key's owner; it appears in the gateway's log.")]
File = Annotated[Path, typer.Option(envvar="GATEWAY_API_KEYS_FILE", help="The gateway's file of keys.")]

DEFAULT_FILE = Path("api-keys")


@app.command("add")
def add(name: Name, *, file: File = DEFAULT_FILE) -> None:
    """Create an API key, print it once, and store only a salted hash of it in the gateway's file."""
    check_standard_output()
    with as_bad_parameter():
        key = add_key(name, file)
    typer.echo(key)
    typer.echo(f"{file} contains its hash. The key itself is not stored and cannot be shown again.", err=True)


@app.command("list")
def show(*, file: File = DEFAULT_FILE) -> None:
    """Print the names of the keys."""
    check_standard_output()
    with as_bad_parameter():
        names = list_keys(file)
    for name in names:
        typer.echo(name)


@app.command("remove")
def remove(name: Name, *, file: File = DEFAULT_FILE) -> None:
    """Remove a key, which the gateway refuses from its next request on."""
    with as_bad_parameter():
        remove_key(name, file)
    typer.echo(f"{file} no longer has the key {name}.", err=True)
