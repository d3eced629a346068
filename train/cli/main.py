"""The commands of `python -m train`: from data to a model behind the gateway."""

# Modules that import TensorFlow are imported by the commands, since TensorFlow would delay --help by seconds.
# ruff: noqa: PLC0415

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from train.cli import compare, data_commands, import_commands, label_commands, models, quantize, record_commands
from train.cli.console import (
    add_resume_command,
    console,
    counting_progress,
    download_progress,
    print_comparison,
    print_next_step,
    print_reuse,
    print_run,
    print_splits,
    print_summary,
    training_progress,
)
from train.cli.folders import check_models
from train.cli.options import (
    MODELS,
    ComputeOption,
    DataFolder,
    MaxLossOption,
    ModelsFolder,
    RunFolder,
    TfliteOption,
)
from train.cli.predict import predict
from train.commands import train_command
from train.config.networks import PretrainedNetwork
from train.config.run_names import MODEL_FILE
from train.config.training_config import TrainingConfig, load_config, load_model_config
from train.data.examples import TEST, Example, Predict, Splits, to_inputs
from train.data.load import load_splits
from train.errors import TrainError
from train.evaluation.assessment import summarise, write_summary
from train.evaluation.evaluate import Evaluation, card_thresholds, evaluate
from train.evaluation.predictions import write_predictions
from train.export.golden import TFLITE_TOLERANCES, TOLERANCE, choose_golden, golden_evaluation, read_golden
from train.export.precision import MAX_LOSS, ExportPrecision, Form, TfliteOptions, Weights
from train.training.data_record import find_reuse, record_data
from train.training.run_folder import Start, find_config, open_run
from train.verification.verify import ServedModel, compare_forms

RUNS = Path("runs")

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"
)
app.add_typer(data_commands.app)
app.add_typer(import_commands.app)
app.add_typer(label_commands.app)
app.add_typer(record_commands.app)
app.add_typer(models.app)
app.add_typer(quantize.app)
app.add_typer(compare.app)

StoreOption = Annotated[Weights, typer.Option("--store", "--weights", help="Number type in which weights are stored.")]


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
    """Train a model, evaluate it, export it as a served version, and verify it through a running gateway.

    The usual order is fit, evaluate, export, verify; docs/guides/train.md is a walkthrough.
    """


@app.command()
def fit(  # noqa: PLR0913  # each is an option of the command line
    config_path: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG", help="Training configuration, such as train/configs/digits.yaml, or the folder of a run."
        ),
    ],
    data: DataFolder = None,
    runs: Annotated[Path, typer.Option(help="Folder in which the run's folder is created.")] = RUNS,
    weights: Annotated[
        Path | None, typer.Option(help="File of the initial weights, instead of the configuration's.")
    ] = None,
    *,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an unfinished run after its last finished epoch.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace RUNS/NAME, once the new network is trained.")
    ] = False,
) -> None:
    """Train a network in RUNS/NAME; missing data is downloaded first.

    If RUNS/NAME exists, it is kept, and the new run is RUNS/NAME-2, then RUNS/NAME-3 and so on. With --resume the
    newest unfinished run is continued, or that of the folder; the result equals that of an uninterrupted run.
    """
    if resume and overwrite:
        raise TrainError("--resume and --overwrite: only one of them can be given")
    config_path = find_config(config_path)
    config = load_config(config_path)
    _check_weights(config_path, config, weights)
    start: Start = "resume" if resume else "overwrite" if overwrite else "new"
    with open_run(config_path, config.name, runs, start) as run, add_resume_command(run, data):
        print_run(run)
        splits = _load(config, data)
        print_splits(splits, config.labels)
        record_data(run.path, splits, is_resumed=run.is_resumed, weights=weights or _weights_file(config))

        from train.training.device import describe_device
        from train.training.loop import fit as fit_network

        train, validation = (
            to_inputs(part, config.input, len(config.labels)) for part in (splits.train, splits.validation)
        )
        console.print(f"Training on: {describe_device(config.training.mixed_precision)}", soft_wrap=True)
        with training_progress() as on_step:
            fit_network(config, train, validation, run.path, on_step, resume=run.is_resumed, weights=weights)
    trained = run.final_path
    _print_line(f"The trained network is in {trained}; next: {train_command('evaluate', trained)}")


@app.command("evaluate")
def evaluate_run(run: RunFolder, data: DataFolder = None) -> None:
    """Evaluate a run on the test set, after calibrating its probabilities on the validation set.

    Prints the metrics, and writes them to RUN/evaluation.json and, with plots, to RUN/report/index.html. The result of
    each test image is in RUN/predictions.csv.
    """
    from train.report.write import PAGE, write_report
    from train.training.log import LOG_FILE
    from train.training.run import load_run
    from train.verification.assess import assess

    config, model = load_run(run)
    splits = _load(config, data)
    print_reuse(run, find_reuse(run, splits))
    assessment = assess(config, model, splits)
    write_summary(run, assessment)
    write_predictions(run, assessment.test, splits.test, config.labels)
    write_report(run / "report", assessment, splits.test, run / LOG_FILE)
    print_summary(summarise(assessment))
    _print_line(f"See {run / 'report' / PAGE} for plots and mistakes; next: {train_command('export', run)}")


@app.command()
def export(  # noqa: PLR0913, PLR0917  # each is an option of the command line
    run: RunFolder,
    data: DataFolder = None,
    models: ModelsFolder = MODELS,
    weights: StoreOption = "float32",
    compute: ComputeOption = "float32",
    tflite: TfliteOption = "auto",
    max_loss: MaxLossOption = MAX_LOSS,
) -> None:
    """Export a run's network as the next version of its served model.

    The version holds a SavedModel and, if int8 is measured to cost less time and not too much accuracy, the network
    in int8 for TensorFlow Lite, which is served on processors; --tflite decides otherwise. Both are compared with
    the trained network before the version becomes visible; a running model server then loads it.

    The card's metrics are those of the served form on the test images; so is RUN/report/index.html, which then compares
    both forms. --store float16 halves the size of the
    SavedModel, and --store int8 quarters it; docs/guides/train.md, "Smaller and faster", compares cost and accuracy.
    """
    check_models(models)

    from train.evaluation.cards import make_card
    from train.export.confidence import fit_confidence, measure_answered, with_confidence
    from train.export.export import export_network
    from train.export.forms import Samples, choose_forms
    from train.export.frozen_network import freeze_model
    from train.report.sections import ExportedForms
    from train.report.write import write_report
    from train.training.log import LOG_FILE
    from train.training.loop import predictor
    from train.training.run import load_run
    from train.training.weights_record import read_weights_record
    from train.verification.assess import assess_forms, calibrate_network

    config, model = load_run(run)
    splits = _load(config, data)
    print_reuse(run, find_reuse(run, splits))
    validation = to_inputs(splits.validation, config.input, len(config.labels))
    calibration = calibrate_network(config, model, validation)
    network = freeze_model(model, config.input, ExportPrecision(weights, compute))
    if config.confident_share is not None:
        training = to_inputs(splits.train, config.input, len(config.labels))
        head = fit_confidence(network, training.images, validation.images, config.confident_share)
        network = head.attach(network)
    samples = Samples(validation, calibration.thresholds)
    forms = choose_forms(network, config.input, samples, TfliteOptions(tflite, max_loss))
    assessment, form_metrics = assess_forms(config, calibration, splits, forms)
    card = make_card(assessment, model.count_params(), form_metrics, read_weights_record(run))
    if config.confident_share is not None:
        test = to_inputs(splits.test, config.input, len(config.labels)).images
        card = with_confidence(card, measure_answered(forms.predict_confidence, test, assessment.test.correct))
    goldens = choose_golden(splits.test, assessment.test)
    exported = export_network(network, card, goldens, models / config.name, predictor(model), forms.tflite)
    report = ExportedForms(exported.path, form_metrics, exported.sizes)
    write_report(run / "report", assessment, splits.test, run / LOG_FILE, report)
    console.print(
        f"{exported.path} written: {assessment.test.accuracy:.2%} of {len(splits.test)} test images right; largest"
        f" difference of a golden image's probability from the trained network's: {exported.largest_difference:.1e}",
        soft_wrap=True,
    )
    console.print(forms.decision, soft_wrap=True)
    print_next_step(exported.path)


@app.command()
def verify(  # noqa: PLR0913  # each is an option of the command line
    *,
    model: Annotated[str, typer.Option(help="Name of the model.")],
    url: Annotated[str, typer.Option(help="URL of the gateway.")] = "http://localhost:8080",
    data: Annotated[Path | None, typer.Option(help="Folder of a data set whose test images are sent as well.")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Test set of the data set: `test` or a further one; repeatable.")
    ] = None,
    config_path: Annotated[
        Path | None,
        typer.Option("--config", help="Configuration of the data set.", show_default="train/configs/MODEL.yaml"),
    ] = None,
    models: ModelsFolder = MODELS,
    connections: Annotated[int, typer.Option(min=1, help="Number of parallel requests.")] = 4,
    batch: Annotated[int, typer.Option(min=1, help="Images per request.")] = 1,
) -> None:
    """Send images through a running gateway, and compare each answer with the model's offline prediction.

    Golden images are compared with the probabilities recorded at export, which tells in which form the version is
    served; test images with that form of the newest version on disk. Ends with status 1 if an answer is missing or
    differs.
    """
    from train.export.savedmodel import load_version, newest_version
    from train.export.tflite_model import load_tflite

    version = load_version(newest_version(models / model))
    tflite = load_tflite(version.path, version.card)
    predictors: dict[Form, Predict] = {"saved_model": version.predict}
    tolerances: dict[Form, float] = {"saved_model": TOLERANCE}
    if tflite:
        predictors["tflite"], tolerances["tflite"] = tflite.predict, TFLITE_TOLERANCES[tflite.weights]
    goldens = read_golden(version.path)
    thresholds = card_thresholds(version.card)
    image_sets = {} if data is None and not sets else _test_sets(model, data, sets or [TEST], config_path)
    with ServedModel(url, model, len(version.card.labels), connections) as served_model:

        def verify_set(name: str, examples: Sequence[Example], offline: Mapping[Form, Evaluation]) -> tuple[Form, bool]:
            with counting_progress(name, len(examples)) as on_progress:
                predictions = served_model.classify_all(examples, on_progress, batch)
            form, comparison = compare_forms(predictions, offline, version.number, tolerances)
            print_comparison(f"{name} ({form})", comparison, examples)
            return form, not comparison.mismatches

        recorded = {form: golden_evaluation(goldens, thresholds, form) for form in predictors}
        form, is_equal = verify_set("golden images", [golden.example for golden in goldens], recorded)
        for name, examples in image_sets.items():
            inputs = to_inputs(examples, version.card.input, len(version.card.labels))
            offline = {form: evaluate(predictors[form], inputs, thresholds)}
            is_equal &= verify_set(f"{name} images", examples, offline)[1]
    if not is_equal:
        raise typer.Exit(1)


app.command()(predict)


def _print_line(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _test_sets(
    model: str, data: Path | None, names: Sequence[str], config_path: Path | None
) -> dict[str, Sequence[Example]]:
    sets = _load(load_model_config(model, config_path), data).tests
    for name in names:
        if name not in sets:
            raise TrainError(f"--set {name}: the data set has no such test set; it has: {', '.join(sets)}")
    return {name: sets[name] for name in names}


def _check_weights(config_path: Path, config: TrainingConfig, weights: Path | None) -> None:
    """Check that the file of the initial weights is there, before the data is loaded."""
    file, source = (weights, "--weights") if weights else (_weights_file(config), f"{config_path}: model.weights")
    if file and not file.is_file():
        network = file / MODEL_FILE
        hint = f"; the network of this run is {network}" if network.is_file() else ""
        raise TrainError(f"{source}: expected {'' if weights else 'imagenet, none or '}a file, received {file}{hint}")


def _weights_file(config: TrainingConfig) -> Path | None:
    """Return the file of initial weights that a configuration names."""
    weights = config.model.weights if isinstance(config.model, PretrainedNetwork) else None
    return weights if isinstance(weights, Path) else None


def _load(config: TrainingConfig, directory: Path | None) -> Splits:
    with download_progress() as on_progress:
        return load_splits(config, on_progress, directory)
