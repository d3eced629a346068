"""`python -m train`: the way of a model from its data to the gateway."""

# Commands import what brings in TensorFlow themselves, for --help need not wait seconds for it.
# ruff: noqa: PLC0415

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from train.cli import data_commands, import_commands, quantize
from train.cli.console import (
    console,
    counting_progress,
    download_progress,
    print_comparison,
    print_splits,
    print_summary,
    training_progress,
)
from train.cli.predict import predict
from train.config.training_config import TrainingConfig, load_config
from train.data.examples import TEST, Example, Splits, to_inputs
from train.data.load import load_splits
from train.errors import TrainError
from train.evaluation.assessment import summary, write_summary
from train.evaluation.evaluate import Evaluation, evaluate, thresholds_of
from train.export.golden import choose, evaluation, read_golden
from train.export.precision import Compute, ExportPrecision, Weights
from train.verification.verify import ServedModel, compare

RUNS = Path("runs")
MODELS = Path("serving_models")

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(data_commands.app)
app.add_typer(import_commands.app)
app.add_typer(quantize.app)

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run, such as runs/digits.")]
DataFolder = Annotated[
    Path | None, typer.Option("--data", help="Folder of the data set, in place of the configuration's.")
]
ModelsFolder = Annotated[Path, typer.Option("--models", help="Folder of the served models.")]
WeightsForm = Annotated[Weights, typer.Option("--store", "--weights", help="How weights are stored.")]
ComputeForm = Annotated[Compute, typer.Option("--compute", help="What convolutions are done in.")]


def _print_version(requested: bool) -> None:  # noqa: FBT001  # typer's signature
    if requested:
        pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
        typer.echo(f"image-gateway {pyproject['project']['version']}")
        raise typer.Exit


@app.callback()
def describe(
    *,
    version: Annotated[  # its callback does the work
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Train a model, measure it, export it as a served version, and verify it through a running gateway.

    The usual order is fit, evaluate, export, verify; docs/train.md walks through it.
    """


@app.command()
def fit(
    config_path: Annotated[Path, typer.Argument(metavar="CONFIG", help="Such as train/configs/digits.yaml.")],
    data: DataFolder = None,
    runs: Annotated[Path, typer.Option(help="Where the run gets a folder of its name.")] = RUNS,
    weights: Annotated[
        Path | None, typer.Option(help="File of the weights to start from, in place of the configuration's.")
    ] = None,
    *,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last epoch that was finished.")] = False,
) -> None:
    """Train a network into RUNS/NAME. Data that is missing is downloaded first.

    A run that was broken off goes on with --resume, and ends as it would have without the break.
    """
    config = load_config(config_path)
    splits = _load(config, data)
    print_splits(splits, config.labels)

    from train.training.loop import fit as fit_network
    from train.training.run import start_run

    run = runs / config.name
    start_run(config_path, run, resume=resume)
    train, validation = (
        to_inputs(part, config.input, len(config.labels)) for part in (splits.train, splits.validation)
    )
    with training_progress() as on_step:
        fit_network(config, train, validation, run, on_step, resume=resume, weights=weights)
    console.print(f"{run} holds the trained network; next: python -m train evaluate {run}", soft_wrap=True)


@app.command("evaluate")
def evaluate_run(run: RunFolder, data: DataFolder = None) -> None:
    """Measure a run's network on the test images, its probabilities set right on the validation images before.

    Prints the figures, and writes them to RUN/evaluation.json and with plots to RUN/report/index.html.
    """
    from train.report.write import PAGE, write_report
    from train.training.loop import LOG_FILE
    from train.training.run import load_run
    from train.verification.assess import assess

    config, model = load_run(run)
    splits = _load(config, data)
    assessment = assess(config, model, splits)
    write_summary(run, assessment)
    write_report(run / "report", assessment, splits.test, run / LOG_FILE)
    print_summary(summary(assessment))
    console.print(f"{run / 'report' / PAGE} shows more; next: python -m train export {run}", soft_wrap=True)


@app.command()
def export(
    run: RunFolder,
    data: DataFolder = None,
    models: ModelsFolder = MODELS,
    weights: WeightsForm = "float32",
    compute: ComputeForm = "float32",
) -> None:
    """Write a run's network as the next version of its served model.

    With --store float16 it takes half the room, with int8 a quarter, and the figures are those of what was
    written; docs/train.md, "Smaller and faster", tells what each form costs and gains.

    The version carries its card with the figures on the test images, a warm-up file and golden images. It is
    compared with the network before it appears; a running model server then loads it by itself.
    """
    from train.evaluation.cards import make_card
    from train.export.export import export as export_version
    from train.training.run import load_run
    from train.verification.assess import assess

    config, model = load_run(run)
    splits = _load(config, data)
    precision = ExportPrecision(weights, compute)
    assessment = assess(config, model, splits, precision)
    card = make_card(assessment, model.count_params())
    exported = export_version(model, card, choose(splits.test, assessment.test), models / config.name, precision)
    console.print(
        f"{exported.path} written: {assessment.test.accuracy:.2%} of {len(splits.test)} test images right, and no"
        " probability of a golden image differs from the trained network's by more than"
        f" {exported.largest_difference:.1e}",
        soft_wrap=True,
    )


@app.command()
def verify(  # noqa: PLR0913  # each is an option of the command line
    *,
    model: Annotated[str, typer.Option(help="Name of the model.")],
    url: Annotated[str, typer.Option(help="Where the gateway listens.")] = "http://localhost:8080",
    data: Annotated[Path | None, typer.Option(help="Folder of a data set: also send all of its test images.")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Of the data set: `test`, or a further set; may be repeated.")
    ] = None,
    config_path: Annotated[
        Path | None,
        typer.Option("--config", help="The data set's configuration.", show_default="train/configs/MODEL.yaml"),
    ] = None,
    models: ModelsFolder = MODELS,
    connections: Annotated[int, typer.Option(min=1, help="Requests under way at once.")] = 4,
    batch: Annotated[int, typer.Option(min=1, help="Images in a request.")] = 1,
) -> None:
    """Send images through a running gateway and compare each answer with what the model says offline.

    The golden images are held against what training noted about them, the test images against the newest
    version on disk. Ends with status 1 if an answer is missing or differs.
    """
    from train.export.savedmodel import load_version, newest_version

    version = load_version(newest_version(models / model))
    goldens = read_golden(version.path)
    thresholds = thresholds_of(version.card)
    compared: list[tuple[str, Sequence[Example], Evaluation]] = [
        ("golden images", [golden.example for golden in goldens], evaluation(goldens, thresholds))
    ]
    if data or sets:
        config = load_config(config_path or Path(f"train/configs/{model}.yaml"))
        for name, examples in _chosen(_load(config, data), sets or [TEST]).items():
            inputs = to_inputs(examples, version.card.input, len(version.card.labels))
            compared.append((f"{name} images", examples, evaluate(version.predict, inputs, thresholds)))
    with ServedModel(url, model, len(version.card.labels), connections) as served_model:
        equal = [_verify_set(served_model, batch, version.number, *images) for images in compared]
    if not all(equal):
        raise typer.Exit(1)


app.command()(predict)


def _chosen(splits: Splits, names: Sequence[str]) -> dict[str, Sequence[Example]]:
    sets = splits.tests
    for name in names:
        if name not in sets:
            raise TrainError(f"--set {name}: the data set has no such images; it has {', '.join(sets)}")
    return {name: sets[name] for name in names}


def _verify_set(  # noqa: PLR0913, PLR0917  # what to ask, whom, and what to expect
    served_model: ServedModel, batch: int, version: int, name: str, examples: Sequence[Example], offline: Evaluation
) -> bool:
    with counting_progress(name, len(examples)) as on_progress:
        predictions = served_model.classify_all(examples, on_progress, batch)
    comparison = compare(predictions, offline, version)
    print_comparison(name, comparison, examples)
    return not comparison.mismatches


def _load(config: TrainingConfig, directory: Path | None) -> Splits:
    with download_progress() as on_progress:
        return load_splits(config, on_progress, directory)
