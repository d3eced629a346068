"""What a gateway offers: `image-gateway models`, `health` and `version`."""

import sys
from dataclasses import asdict
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from image_gateway_client.commands import options
from image_gateway_client.console import echo, echo_json, print_model, print_models
from image_gateway_client.endpoint import DEFAULT_URL
from image_gateway_client.outputs import check_standard_output

DISTRIBUTION = "image-gateway-client"
QUICK_TIMEOUT_S = 5.0


def models(  # noqa: PLR0913  # each is an option of the command line
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Show the details of this model.", show_default=False)
    ] = None,
    *,
    as_json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.ApiKey = None,
    timeout: options.Timeout = options.DEFAULT_TIMEOUT_S,
    retries: options.Retries = options.DEFAULT_RETRIES,
) -> None:
    """List the models, or show the details of one: its versions, classes and metrics."""
    check_standard_output()
    with options.open_client(url, api_key, timeout, retries) as client:
        details = client.models() if name is None else [client.model(name)]
    if as_json:
        documents = [asdict(model) for model in details]
        echo_json(documents if name is None else documents[0])
    elif name is None:
        print_models(details, sys.stdout)
    else:
        print_model(details[0], sys.stdout)


def health(
    url: options.Url = DEFAULT_URL, api_key: options.ApiKey = None, timeout: options.Timeout = QUICK_TIMEOUT_S
) -> None:
    """Check the gateway: status 0 if it is ready, 1 if its default model cannot be used, 2 if it does not respond."""
    with options.open_client(url, api_key, timeout, retries=0) as client:
        state = client.health()
    if state.model:
        echo(f"{url} is ready: {state.model.name} version {state.model.version} is served")
    else:
        echo(f"{url} is not ready: {state.problem}")
        raise typer.Exit(1)


def version(
    url: options.Url = DEFAULT_URL, api_key: options.ApiKey = None, timeout: options.Timeout = QUICK_TIMEOUT_S
) -> None:
    """Print the versions of this command and of the gateway."""
    check_standard_output()
    typer.echo(f"image-gateway command {installed_version(DISTRIBUTION)}")
    with options.open_client(url, api_key, timeout, retries=0) as client:
        echo(f"gateway at {url} {client.version()}")
