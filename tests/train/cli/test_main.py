"""The command line: its output, its files and its exit status."""

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from train.cli.console import print_next_step, print_run, training_progress
from train.cli.main import app
from train.errors import TrainError
from train.training.data_record import DATA_FILE
from train.training.loop import Step
from train.training.run_folder import RunFolder

ROOT = Path(__file__).parents[3]
UNREACHABLE = "http://127.0.0.1:1"


def train(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the program as a user does."""
    command = [sys.executable, "-m", "train", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_help_lists_the_commands_and_does_not_import_tensorflow():
    code = "import sys, train.cli.main; sys.exit('tensorflow' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0

    done = train("--help")

    assert done.returncode == 0
    for command in ("fit", "evaluate", "export", "verify"):
        assert command in done.stdout


def test_missing_packages_end_the_program_with_the_command_that_installs_them():
    code = "import runpy, sys; sys.modules['typer'] = None; runpy.run_module('train', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr == "error: typer is not installed, which python -m train needs. Run: make .venv/.dev-ready\n"


def test_a_typo_in_a_configuration_is_reported_in_one_message(config_path: Path, tmp_path: Path):
    document = yaml.safe_load(config_path.read_text())
    document["training"]["epoch"] = document["training"].pop("epochs")
    path = tmp_path / "typo.yaml"
    path.write_text(yaml.safe_dump(document))
    done = train("fit", path, "--runs", tmp_path / "runs")

    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr
    assert "unknown key 'epoch'; the nearest known key is 'epochs'" in " ".join(done.stdout.split())
    assert not (tmp_path / "runs").exists()


def edit_config(document: dict, folder: Path, **sections: object) -> Path:
    path = folder / "edited.yaml"
    path.write_text(yaml.safe_dump(document | sections))
    return path


@pytest.mark.parametrize(
    ("options", "sections", "message"),
    [
        ([], {"training": {"epoch": 1}}, "unknown key 'epoch'"),
        (["--weights", "absent.h5"], {}, "--weights: expected a file, received absent.h5"),
        (["--weights", __file__], {}, "small_cnn has no published weights; remove --weights"),
        (["--data", "absent"], {}, "train-images-idx3-ubyte.gz could not be downloaded"),
        ([], {"training": {"epochs": 1, "batch_size": 65, "learning_rate": 0.1}}, "65 is more than the 64 training im"),
    ],
    ids=["typo", "missing weights", "other weights", "missing data", "batch size"],
)
@pytest.mark.parametrize("start", [[], ["--overwrite"]], ids=["further run", "overwrite"])
def test_a_training_that_fails_at_its_start_leaves_the_earlier_run(  # noqa: PLR0917  # parameters and fixtures
    config_document: dict,
    own_run: Path,
    tmp_path: Path,
    start: list[str],
    options: list[str],
    sections: dict,
    message: str,
):
    earlier = {path: path.read_bytes() for path in own_run.rglob("*") if path.is_file()}
    config = edit_config(config_document, tmp_path, **sections)

    result = CliRunner().invoke(app, ["fit", str(config), "--runs", str(own_run.parent), *start, *options])

    assert message in str(result.exception)
    assert {path: path.read_bytes() for path in own_run.rglob("*") if path.is_file()} == earlier
    assert list(own_run.parent.iterdir()) == [own_run]


def test_a_further_run_has_a_folder_of_its_own_also_if_started_from_the_configuration_of_the_first(own_run: Path):
    arguments = ["fit", str(own_run / "config.yaml"), "--runs", str(own_run.parent)]
    further = own_run.with_name("shapes-2")

    result = CliRunner().invoke(app, arguments, catch_exceptions=False)

    assert f"{own_run} is kept; this run is {further}" in result.output
    assert f"next: python -m train evaluate {further}" in result.output
    assert (further / "config.yaml").read_bytes() == (own_run / "config.yaml").read_bytes()


@pytest.mark.parametrize(
    ("run", "line"),
    [
        (RunFolder(Path("fruit")), ""),
        (RunFolder(Path("fruit"), is_resumed=True), "continuing fruit\n"),
        (
            RunFolder(Path("new"), earlier=Path("fruit"), replaces_earlier=True),
            "training in new, which replaces fruit when it has finished\n",
        ),
    ],
)
def test_a_run_is_announced_unless_it_is_the_first(capsys: pytest.CaptureFixture[str], run: RunFolder, line: str):
    print_run(run)

    assert capsys.readouterr().out == line


def test_resume_and_overwrite_exclude_each_other(config_path: Path):
    result = CliRunner().invoke(app, ["fit", str(config_path), "--resume", "--overwrite"])

    assert str(result.exception) == "--resume and --overwrite: only one of them can be given"


def test_epochs_are_shown_when_they_end_and_counted_up_to_the_last(monkeypatch: pytest.MonkeyPatch):
    output = io.StringIO()
    monkeypatch.setattr("train.cli.console.console", Console(file=output, color_system=None, width=200))

    with training_progress() as on_step:  # of a run that was resumed after its first epoch
        for done, epoch, loss in ((3, 1, 0.8), (4, 1, 0.7), (4, 2, 0.6)):
            on_step(Step(done, 4, epoch, 2, {"loss": loss}))

    assert re.findall(r"epoch \d+: loss \S+", output.getvalue()) == ["epoch 2: loss 0.6000"]
    assert "epoch 2 of 2" in output.getvalue()
    assert "epoch 3" not in output.getvalue()


def test_evaluate_warns_of_test_images_that_the_run_was_trained_with(own_run: Path):
    record = json.loads((own_run / DATA_FILE).read_text())
    record["train"] += record["test"][:5]
    record["test"] = record["test"][5:]
    (own_run / DATA_FILE).write_text(json.dumps(record))

    result = CliRunner().invoke(app, ["evaluate", str(own_run)], catch_exceptions=False)

    assert f"{own_run} has learned from 5 of the 20 test images" in result.output


def test_evaluate_prints_and_writes_metrics(run: Path):
    result = CliRunner().invoke(app, ["evaluate", str(run)], catch_exceptions=False)

    assert result.exit_code == 0
    assert "of 20 images right" in result.output
    assert "was trained with" not in result.output

    metrics = json.loads((run / "evaluation.json").read_text())

    assert metrics["images"] == 20
    assert [values["class"] for values in metrics["per_class"]] == ["square", "bar"]
    assert metrics["validation"]["images"] == 16
    assert "warning: only 16 validation images" in " ".join(result.output.split())
    assert len((run / "predictions.csv").read_text().splitlines()) == 1 + 20


def test_two_evaluated_runs_are_compared(run: Path, tmp_path: Path):
    invoke = CliRunner().invoke
    assert invoke(app, ["evaluate", str(run)], catch_exceptions=False).exit_code == 0
    other = shutil.copytree(run, tmp_path / "other")
    config = yaml.safe_load((other / "config.yaml").read_text())
    (other / "config.yaml").write_text(yaml.safe_dump(config | {"seed": 77}))

    page = tmp_path / "comparison.html"
    result = invoke(app, ["compare", str(run), str(other), "--out", str(page)], catch_exceptions=False)

    text = " ".join(result.output.split())
    assert "no difference can be shown" in text
    assert "seed" in text
    assert "77" in text
    assert page.read_text(encoding="utf-8").count("<svg") == 4


def test_a_run_that_was_not_evaluated_cannot_be_compared(tmp_path: Path):
    result = CliRunner().invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b")])

    assert isinstance(result.exception, TrainError)
    assert f"python -m train evaluate {tmp_path / 'a'}" in str(result.exception)


def test_another_data_folder_can_be_used(run: Path, tmp_path: Path):
    result = CliRunner().invoke(app, ["evaluate", str(run), "--data", str(tmp_path)])

    assert result.exit_code != 0
    assert "train-images-idx3-ubyte.gz could not be downloaded" in str(result.exception)


def test_export_prints_its_accuracy_and_writes_the_version(models: Path, run: Path, tmp_path: Path):
    result = CliRunner().invoke(app, ["export", str(run), "--models", str(tmp_path)], catch_exceptions=False)

    assert "of 20 test images right" in " ".join(result.output.split())
    assert sorted(path.name for path in (tmp_path / "shapes").iterdir()) == ["1"]
    assert (models / "shapes/1").is_dir()
    page = (run / "report/index.html").read_text(encoding="utf-8")
    assert re.search(r"<h2>Exported forms</h2>.*<td>SavedModel</td><td>0\.\d MB</td>", page)
    last_line = result.output.rstrip().splitlines()[-1]
    assert last_line == (
        f"Have it served: python -m tools.models add {tmp_path}/shapes --config {tmp_path}/models.config"
    )


def test_a_folder_that_is_not_a_run_is_reported_with_the_finished_runs(run: Path, tmp_path: Path):
    missing = tmp_path / "runs" / "missing"
    above, alone = (
        CliRunner().invoke(app, ["export", str(folder), "--models", str(tmp_path)]) for folder in (run.parent, missing)
    )

    assert str(above.exception) == f"{run.parent} is not the folder of a run; finished runs are {run}"
    assert str(alone.exception) == f"{missing} is not the folder of a run; train one with `python -m train fit CONFIG`"


def test_a_folder_of_models_that_cannot_be_written_is_reported_before_the_export(tmp_path: Path):
    (tmp_path / "file").touch()
    result = CliRunner().invoke(
        app, ["export", str(tmp_path / "no run"), "--models", str(tmp_path / "file" / "models")]
    )

    assert isinstance(result.exception, TrainError)
    assert "models cannot be written (Not a directory); give a folder" in str(result.exception)


@pytest.mark.parametrize("model", [{"kind": "efficientnet_lite0"}, {"kind": "application", "name": "MobileNetV2"}])
def test_a_file_of_initial_weights_that_does_not_exist_is_reported_before_the_training(
    config_document: dict, tmp_path: Path, model: dict
):
    path = tmp_path / "shapes.yaml"
    spec = {**config_document["input"], "color": "RGB", "resize": "stretch"}
    path.write_text(yaml.safe_dump({**config_document, "input": spec, "model": {**model, "weights": "imagnet"}}))

    result = CliRunner().invoke(app, ["fit", str(path), "--runs", str(tmp_path / "runs")])

    assert str(result.exception) == f"{path}: model.weights: expected imagenet, none or a file, received imagnet"
    assert not (tmp_path / "runs").exists()


def test_a_run_that_is_named_instead_of_its_network_is_told_the_file(config_path: Path, run: Path, tmp_path: Path):
    result = CliRunner().invoke(app, ["fit", str(config_path), "--runs", str(tmp_path), "--weights", str(run)])

    assert str(result.exception) == (
        f"--weights: expected a file, received {run}; the network of this run is {run}/model.keras"
    )


def test_a_model_without_a_configuration_needs_the_option(models: Path):
    arguments = ["verify", "--model", "shapes", "--models", str(models), "--set", "test"]
    result = CliRunner().invoke(app, arguments)

    assert str(result.exception).startswith("train/configs/shapes.yaml does not exist; name the configuration")


@pytest.mark.parametrize("name", ["00.png", "00.jpeg"])
def test_the_next_step_of_a_configured_model_is_to_try_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
):
    golden = tmp_path / "my shapes" / "2" / "assets.extra" / "golden" / name
    golden.parent.mkdir(parents=True)
    golden.touch()
    golden.with_name("golden.json").touch()
    (tmp_path / "models.config").write_text('model_config_list { config { name: "my shapes" } }')

    print_next_step(tmp_path / "my shapes" / "2")

    assert capsys.readouterr().out == (
        f"Try it while make run serves it: curl -F image=@'{golden}' "
        "http://localhost:8080/api/v1/models/my%20shapes/predict\n"
    )


@pytest.mark.parametrize("everything", [True, False])
def test_verify_ends_with_1_if_the_gateway_is_unreachable(
    models: Path,
    config_path: Path,
    config_document: dict,
    everything: bool,  # noqa: FBT001  # a parameter
):
    data = ["--data", config_document["data"]["directory"], "--config", str(config_path)] if everything else []
    arguments = ["verify", "--model", "shapes", "--models", str(models), "--url", UNREACHABLE, *data]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)

    assert result.exit_code == 1
    assert "mismatches: 2" in " ".join(result.output.split())
    assert (re.search(r"test images \(\w+\): 20 sent", " ".join(result.output.split())) is not None) == everything


def test_verify_names_the_available_test_sets(models: Path, config_path: Path):
    arguments = ["verify", "--model", "shapes", "--models", str(models), "--config", str(config_path), "--set", "jpeg"]
    result = CliRunner().invoke(app, arguments)

    assert isinstance(result.exception, TrainError)
    assert str(result.exception) == "--set jpeg: the data set has no such test set; it has: test"
