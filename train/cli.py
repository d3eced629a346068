"""`python -m train`: the way of a model from its data to the gateway."""

# Commands import what brings in TensorFlow themselves, for --help need not wait seconds for it.
# ruff: noqa: PLC0415

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from train.config import Config, load_config
from train.console import (
    console,
    counting_progress,
    download_progress,
    print_comparison,
    print_figures,
    training_progress,
)
from train.data import load_splits
from train.evaluate import Evaluation, evaluate, figures
from train.examples import Example, Splits, to_inputs
from train.golden import choose, evaluation, read_golden
from train.verify import Gateway, compare

RUNS = Path("runs")
MODELS = Path("serving_models")

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run, such as runs/digits.")]
DataFolder = Annotated[
    Path | None, typer.Option("--data", help="Folder of the data set, in place of the configuration's.")
]
ModelsFolder = Annotated[Path, typer.Option("--models", help="Folder of the served models.")]


@app.callback()
def describe() -> None:
    """Train a model, measure it, export it as a served version, and verify it through a running gateway.

    The usual order is fit, evaluate, export, verify; docs/train.md walks through it.
    """


@app.command()
def fit(
    config_path: Annotated[Path, typer.Argument(metavar="CONFIG", help="Such as train/configs/digits.yaml.")],
    data: DataFolder = None,
    runs: Annotated[Path, typer.Option(help="Where the run gets a folder of its name.")] = RUNS,
    *,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last epoch that was finished.")] = False,
) -> None:
    """Train a network into RUNS/NAME. Data that is missing is downloaded first.

    A run that was broken off goes on with --resume, and ends as it would have without the break.
    """
    config = load_config(config_path)
    splits = _load(config, data)

    from train.loop import fit as fit_network
    from train.run import start_run

    run = runs / config.name
    start_run(config_path, run, resume=resume)
    train, validation = (
        to_inputs(part, config.input, len(config.labels)) for part in (splits.train, splits.validation)
    )
    with training_progress() as on_step:
        fit_network(config, train, validation, run, on_step, resume=resume)
    console.print(f"{run} holds the trained network; next: python -m train evaluate {run}", soft_wrap=True)


@app.command("evaluate")
def evaluate_run(run: RunFolder, data: DataFolder = None) -> None:
    """Measure a run's network on the test images. Prints the figures and writes RUN/evaluation.json."""
    from train.loop import predictor
    from train.run import load_run

    config, model = load_run(run)
    measured = evaluate(predictor(model), to_inputs(_load(config, data).test, config.input, len(config.labels)))
    print_figures(measured, config.labels)
    text = json.dumps(figures(measured, config.labels), indent=1)
    (run / "evaluation.json").write_text(f"{text}\n", encoding="utf-8")


@app.command()
def export(run: RunFolder, data: DataFolder = None, models: ModelsFolder = MODELS) -> None:
    """Write a run's network as the next version of its served model.

    The version carries its card with the figures on the test images, a warm-up file and golden images. It is
    compared with the network before it appears; a running model server then loads it by itself.
    """
    from train.cards import make_card
    from train.export import export as export_version
    from train.loop import predictor
    from train.run import load_run

    config, model = load_run(run)
    test = _load(config, data).test
    measured = evaluate(predictor(model), to_inputs(test, config.input, len(config.labels)))
    card = make_card(config, measured, model.count_params())
    exported = export_version(model, card, choose(test, measured), models / config.name)
    console.print(
        f"{exported.path} written: {measured.accuracy:.2%} of {len(test)} test images right, and no probability of"
        f" a golden image differs from the trained network's by more than {exported.largest_difference:.1e}",
        soft_wrap=True,
    )


@app.command()
def verify(  # noqa: PLR0913  # each is an option of the command line
    *,
    model: Annotated[str, typer.Option(help="Name of the model.")],
    url: Annotated[str, typer.Option(help="Where the gateway listens.")] = "http://localhost:8080",
    data: Annotated[Path | None, typer.Option(help="Folder of a data set: also send all of its test images.")] = None,
    config_path: Annotated[
        Path | None,
        typer.Option("--config", help="The data set's configuration.", show_default="train/configs/MODEL.yaml"),
    ] = None,
    models: ModelsFolder = MODELS,
    connections: Annotated[int, typer.Option(min=1, help="Images under way at once.")] = 4,
) -> None:
    """Send images through a running gateway and compare each answer with what the model says offline.

    The golden images are held against what training noted about them, the test images against the newest
    version on disk. Ends with status 1 if an answer is missing or differs.
    """
    from train.savedmodel import load_version, newest_version

    version = load_version(newest_version(models / model))
    goldens = read_golden(version.path)
    sets = [("golden images", [golden.example for golden in goldens], evaluation(goldens))]
    if data:
        config = load_config(config_path or Path(f"train/configs/{model}.yaml"))
        test = list(_load(config, data).test)
        inputs = to_inputs(test, version.card.input, len(version.card.labels))
        sets.append(("test images", test, evaluate(version.predict, inputs)))
    with Gateway(url, model, len(version.card.labels), connections) as gateway:
        equal = [_verify_set(gateway, version.number, *images) for images in sets]
    if not all(equal):
        raise typer.Exit(1)


def _verify_set(gateway: Gateway, version: int, name: str, examples: Sequence[Example], offline: Evaluation) -> bool:
    with counting_progress(name, len(examples)) as on_answer:
        answers = gateway.classify_all(examples, on_answer)
    comparison = compare(answers, offline, version)
    print_comparison(name, comparison)
    return not comparison.mismatches


def _load(config: Config, directory: Path | None) -> Splits:
    with download_progress() as on_progress:
        return load_splits(config, on_progress, directory)
