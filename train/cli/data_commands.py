"""Commands that prepare data for `fit`: they fetch images, convert labels and write configurations."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from train.cli.console import console, counting_progress, download_progress
from train.cli.options import DataFolder
from train.commands import train_command
from train.config.datasets import OwnData
from train.config.training_config import load_config
from train.data.examples import DataError
from train.data.fast_image_classification import convert
from train.data.fetch_list import fetch_images, read_list
from train.data.labelme import read_labelme, write_table
from train.data.own_data import list_distinct
from train.data.propose import Proposal, propose_for_folders, propose_for_table, write_config

app = typer.Typer()

Out = Annotated[Path, typer.Option("--out", help="File to write; it must not exist.")]


@app.command()
def labelme(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of the images and Labelme's .json files.")],
    out: Out,
) -> None:
    """Convert Labelme's flags to a CSV with the column `file`, relative to FOLDER, and a 0/1 column for each flag."""
    images = read_labelme(folder)
    with _new_file(out):
        flags = write_table(images, out)
    console.print(f"{out} written: {len(images)} images; labels: {', '.join(flags)}", markup=False, soft_wrap=True)


@app.command()
def fetch(
    list_path: Annotated[
        Path, typer.Argument(metavar="LIST", help="CSV with the columns file, url and sha256; others are ignored.")
    ],
    to: Annotated[Path, typer.Option("--to", help="Target folder of the images.")],
    connections: Annotated[int, typer.Option(min=1, help="Number of parallel downloads.")] = 4,
) -> None:
    """Download and check the images of a list, and skip existing ones.

    Call the command again to resume interrupted downloads. Ends with status 1 if an image could not be downloaded.
    """
    images = read_list(list_path)
    with counting_progress("images", len(images)) as on_done:
        problems = fetch_images(images, to, connections, on_done)
    console.print(f"{len(images) - len(problems)} of {len(images)} images are in {to}", markup=False, soft_wrap=True)
    for problem in problems:
        console.print(problem, markup=False, soft_wrap=True)
    if problems:
        raise typer.Exit(1)


@app.command()
def propose(
    source: Annotated[Path, typer.Argument(metavar="FOLDER|CSV", help="Folder of class folders, or a CSV.")],
    out: Out,
    image_column: Annotated[str, typer.Option(help="Column of a CSV with the paths of the images.")] = "file",
    label_column: Annotated[
        str | None,
        typer.Option(help="Column of a CSV with the labels.", show_default="a 0/1 column for each label"),
    ] = None,
) -> None:
    """Write a configuration for your own images, to be reviewed and trained.

    Paths in a CSV are relative to its folder.
    """
    proposal = propose_for_folders(source) if source.is_dir() else propose_for_table(source, image_column, label_column)
    with _new_file(out):
        write_config(proposal, out)
    _print_proposal(proposal, out)


@app.command("convert")
def convert_files(
    csv_path: Annotated[Path, typer.Option("--csv-path", "--csv_path", help="CSV of the labels, such as data.csv.")],
    data_config_path: Annotated[
        Path, typer.Option("--data-config-path", "--data_config_path", help="Such as data_config.yaml.")
    ],
    training_config_path: Annotated[
        Path, typer.Option("--training-config-path", "--training_config_path", help="Such as training_config.yaml.")
    ],
    out: Out,
) -> None:
    """Convert the three files of FastImageClassification to a configuration; the options may be spelled as there."""
    proposal = convert(csv_path, data_config_path, training_config_path)
    with _new_file(out):
        write_config(proposal, out)
    _print_proposal(proposal, out)


@app.command()
def duplicates(
    config_path: Annotated[Path, typer.Argument(metavar="CONFIG", help="Configuration of your own images.")],
    data: DataFolder = None,
) -> None:
    """List images that look alike, one group a line, each image with its classes.

    The data's near_duplicate_distance decides how similar they are. Copies, whose files are equal, are listed by fit.
    """
    config = load_config(config_path)
    section = config.data
    if not isinstance(section, OwnData):
        raise DataError(f"data.kind: {section.kind} is a published data set; only your own images are searched")
    changes = {"near_duplicates": "group", **({"directory": data} if data else {})}
    with download_progress() as on_progress:
        images, groups, *_ = list_distinct(config, section.model_copy(update=changes), on_progress)
    for group in groups:
        examples = [images[digest] for digest in group]
        names = [
            f"{example.name} ({', '.join(config.labels[number] for number in example.classes)})" for example in examples
        ]
        differ = "; classes differ" if len({example.classes for example in examples}) > 1 else ""
        console.print(f"{', '.join(names)}{differ}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{sum(map(len, groups))} of {len(images)} images are near-duplicates, in {len(groups)} groups")


@contextmanager
def _new_file(path: Path) -> Iterator[None]:
    """Say what to do if a file that is to be written exists already."""
    try:
        yield
    except FileExistsError as error:
        raise DataError(f"{path} exists already and is kept; delete it, or write another file with --out") from error


def _print_proposal(proposal: Proposal, out: Path) -> None:
    document = proposal.document
    for remark in proposal.remarks:
        console.print(remark, markup=False, highlight=False, soft_wrap=True)
    labels = ", ".join(document["labels"])
    console.print(
        f"{out} written, {document['task']}: {labels}; next: {train_command('fit', out)}", markup=False, soft_wrap=True
    )
