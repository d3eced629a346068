"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

RunFolder: TypeAlias = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder of a finished run, such as runs/digits.")
]
DataFolder: TypeAlias = Annotated[
    Path | None, typer.Option("--data", help="Folder of the data set, instead of the configuration's.")
]
