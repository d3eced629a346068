"""Commands that come before `fit`: pictures and labels from elsewhere, and a configuration for them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from train.cli.console import console, counting_progress
from train.data.fast_image_classification import convert
from train.data.fetch_list import fetch_all, read_list
from train.data.labelme import read_labelme, write_table
from train.data.propose import propose_for_folders, propose_for_table, write_config

app = typer.Typer()

Out = Annotated[Path, typer.Option("--out", help="File to write; it must not exist.")]


@app.command()
def labelme(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="With the pictures and Labelme's .json files.")],
    out: Out,
) -> None:
    """Make a CSV of the flags that Labelme's files set: a column `file`, relative to FOLDER, and one for each flag."""
    pictures = read_labelme(folder)
    flags = write_table(pictures, out)
    console.print(f"{out} written: {len(pictures)} pictures; labels: {', '.join(flags)}", markup=False, soft_wrap=True)


@app.command()
def fetch(
    listed: Annotated[
        Path, typer.Argument(metavar="LIST", help="CSV with the columns file, url and sha256; others may be there.")
    ],
    to: Annotated[Path, typer.Option("--to", help="Folder for the pictures.")],
    connections: Annotated[int, typer.Option(min=1, help="Downloads under way at once.")] = 4,
) -> None:
    """Download the pictures of a list, check them, and skip those that are there.

    A download that broke off is continued by the next call. Ends with status 1 if a picture is not to be had.
    """
    wanted = read_list(listed)
    with counting_progress("pictures", len(wanted)) as on_done:
        faults = fetch_all(wanted, to, connections, on_done)
    console.print(f"{len(wanted) - len(faults)} of {len(wanted)} pictures are in {to}", markup=False, soft_wrap=True)
    for fault in faults:
        console.print(fault, markup=False, soft_wrap=True)
    if faults:
        raise typer.Exit(1)


@app.command()
def propose(
    source: Annotated[Path, typer.Argument(metavar="FOLDER|CSV", help="Folder of class folders, or a CSV.")],
    out: Out,
    image_column: Annotated[str, typer.Option(help="Of a CSV: the column with the pictures' paths.")] = "file",
    label_column: Annotated[
        str | None, typer.Option(help="Of a CSV: the column with the labels.", show_default="a 0/1 column for each")
    ] = None,
) -> None:
    """Write a configuration for one's own pictures, to be looked through and trained.

    The paths in a CSV are relative to the folder that it lies in.
    """
    of_folders = source.is_dir()
    document = propose_for_folders(source) if of_folders else propose_for_table(source, image_column, label_column)
    write_config(document, out)
    _tell_next(document, out)


@app.command("convert")
def convert_three_files(
    csv_path: Annotated[Path, typer.Option(help="The labels, such as data.csv.")],
    data_config_path: Annotated[Path, typer.Option(help="Such as data_config.yaml.")],
    training_config_path: Annotated[Path, typer.Option(help="Such as training_config.yaml.")],
    out: Out,
) -> None:
    """Write a configuration of the three files that FastImageClassification trains from."""
    document = convert(csv_path, data_config_path, training_config_path)
    write_config(document, out)
    _tell_next(document, out)


def _tell_next(document: Mapping[str, Any], out: Path) -> None:
    labels = ", ".join(document["labels"])
    console.print(
        f"{out} written, {document['task']}: {labels}; next: python -m train fit {out}", markup=False, soft_wrap=True
    )
