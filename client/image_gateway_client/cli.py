"""The command `image-gateway`."""

from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from image_gateway_client.commands import about, classify, jobs, keys, serve

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback(invoke_without_command=True)
def describe(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False
) -> None:
    """Classify images with an Image Gateway.

    The exit status is 0 on success, 1 if an image failed or the gateway is not ready, and 2 if the command is not valid
    or the gateway cannot be used.
    """
    if version:
        typer.echo(f"image-gateway {installed_version(about.DISTRIBUTION)}")
        raise typer.Exit


app.command()(classify.classify)
app.add_typer(jobs.app, name="jobs")
app.command()(about.models)
app.command()(about.health)
app.command()(about.version)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(serve.serve)
app.add_typer(keys.app, name="keys")
