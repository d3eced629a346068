"""The command that records what another framework returns, in an environment of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from train.cli.options import CardFile
from train.errors import TrainError

SCRIPT = Path(__file__).parents[1] / "importers" / "record_torch.py"

app = typer.Typer()


@app.command("record-torch")
def record_torch(  # noqa: PLR0913  # each is an option of the command line
    file: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint of PyTorch, or .safetensors.")],
    *,
    card: CardFile,
    network: Annotated[
        str, typer.Option(help="What builds the network, as MODULE:FACTORY, such as torchvision.models:resnet18.")
    ],
    python: Annotated[Path, typer.Option(help="Python of an environment with PyTorch.")],
    out: Annotated[Path, typer.Option(help="File to write, for --recorded of the imports (.npz).")],
    arg: Annotated[list[str] | None, typer.Option(help="Argument of the factory, as KEY=VALUE; repeatable.")] = None,
) -> None:
    """Record what PyTorch returns for some pictures, in an environment that has it.

    The factory gets num_classes, the number of the card's labels, unless --arg num_classes=… says otherwise (None for
    a factory without it). The pictures are normalised by the card's input.mean and input.std. Beside PyTorch, the
    environment needs what the network is from, such as torchvision, and safetensors for such files.
    """
    from train.importers.cards import read_card  # noqa: PLC0415  # imports TensorFlow
    from train.weights.checkpoints import read_checkpoint  # noqa: PLC0415  # imports numpy

    source = read_checkpoint(file).source
    described = read_card(card)
    spec = {name: getattr(described.input, name) for name in ("height", "width", "channels", "mean", "std")}
    command = [str(python), str(SCRIPT), str(file), str(out), "--network", network]
    command += [
        f"--labels={len(described.labels)}",
        f"--input={json.dumps(spec)}",
        *(f"--arg={item}" for item in arg or []),
    ]
    try:
        result = subprocess.run(  # noqa: S603  # as the user names it
            command,
            check=False,
            capture_output=True,
            text=True,
            input=json.dumps({"keys": source.keys, "names": source.names}),
        )
    except OSError as error:
        raise TrainError(f"--python {python} cannot be run: {error.strerror}") from error
    if result.returncode:
        raise TrainError(f"{python} could not record the network:\n{result.stderr.strip()}")
    sys.stdout.write(result.stdout)
