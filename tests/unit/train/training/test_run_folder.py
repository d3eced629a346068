"""Folders of runs: nothing of an earlier run changes before a new one has taken its place."""

import os
import shutil
from pathlib import Path

import pytest
import yaml

from train.config.run_names import CONFIG_FILE, MODEL_FILE
from train.errors import TrainError
from train.training.run_folder import CHECKPOINT_FILE, Start, complete_replacement, find_config, open_run

DIGITS = Path(__file__).parents[4] / "train/configs/digits.yaml"


class FailedTrainingError(Exception):
    pass


def write_config(path: Path, name: str = "fruit", **changes: object) -> Path:
    document = yaml.safe_load(DIGITS.read_text()) | {"name": name} | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    return path


def make_run(folder: Path, *files: str, name: str = "fruit") -> dict[str, str]:
    """Write a run with its checkpoint and further files; return its contents."""
    write_config(folder / CONFIG_FILE, name)
    for file in (CHECKPOINT_FILE, *files):
        (folder / file).write_text(f"{file} of {folder}")
    return contents(folder)


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def train(config: Path, start: Start = "new", *, fails_after_epochs: int | None = None, name: str = "fruit") -> Path:
    """Write the files of a training, of one epoch and the network, and return the folder of the finished run."""
    with open_run(config, name, config.parent / "runs", start) as run:
        if fails_after_epochs == 0:
            raise FailedTrainingError
        (run.path / CHECKPOINT_FILE).write_text("new checkpoint")
        if fails_after_epochs:
            raise FailedTrainingError
        (run.path / MODEL_FILE).write_text("new network")
    return run.final_path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path / "fruit.yaml")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


def test_each_run_of_a_name_has_a_folder_of_its_own(config: Path, runs: Path):
    first, second, third = (train(config) for _ in range(3))

    assert [first, second, third] == [runs / "fruit", runs / "fruit-2", runs / "fruit-3"]
    assert (first / CONFIG_FILE).read_bytes() == config.read_bytes()


@pytest.mark.parametrize("start", ["new", "overwrite"])
@pytest.mark.parametrize("file", [MODEL_FILE, "log.csv"])
def test_a_training_that_fails_at_its_start_changes_nothing(config: Path, runs: Path, start: Start, file: str):
    earlier = make_run(runs / "fruit", file)

    with pytest.raises(FailedTrainingError):
        train(config, start, fails_after_epochs=0)

    assert contents(runs / "fruit") == earlier
    assert list(runs.iterdir()) == [runs / "fruit"]


def test_the_name_of_a_training_that_was_killed_at_its_start_is_used_again(config: Path, runs: Path):
    write_config(runs / "fruit" / CONFIG_FILE)

    assert train(config) == runs / "fruit"


def test_a_failed_training_deletes_no_files_of_the_user(config: Path, runs: Path):
    (runs / "fruit").mkdir()
    (runs / "fruit/notes.txt").write_text("mine")

    with pytest.raises(FailedTrainingError):
        train(config, fails_after_epochs=0)

    assert (runs / "fruit/notes.txt").read_text() == "mine"


def test_a_replaced_run_stays_until_the_new_network_is_trained(config: Path, runs: Path):
    earlier = make_run(runs / "fruit", MODEL_FILE, "evaluation.json")

    with open_run(config, "fruit", runs, "overwrite") as run:
        (run.path / CHECKPOINT_FILE).write_text("new checkpoint")
        (run.path / MODEL_FILE).write_text("new network")
        assert contents(runs / "fruit") == earlier

    assert contents(runs / "fruit").keys() == {CONFIG_FILE, CHECKPOINT_FILE, MODEL_FILE}
    assert (runs / "fruit" / MODEL_FILE).read_text() == "new network"
    assert list(runs.iterdir()) == [runs / "fruit"]


def test_an_interrupted_replacement_is_resumed_and_takes_the_place_of_the_earlier_run(config: Path, runs: Path):
    earlier = make_run(runs / "fruit", MODEL_FILE)
    with pytest.raises(FailedTrainingError):
        train(config, "overwrite", fails_after_epochs=1)

    assert contents(runs / "fruit") == earlier
    with pytest.raises(TrainError, match=r"unfinished replacement of .*continue it with .*--resume"):
        train(config, "overwrite")

    with open_run(config, "fruit", runs, "resume") as run:
        assert run.is_resumed
        assert (run.path / CHECKPOINT_FILE).read_text() == "new checkpoint"
        (run.path / MODEL_FILE).write_text("new network")

    assert (runs / "fruit" / MODEL_FILE).read_text() == "new network"
    assert list(runs.iterdir()) == [runs / "fruit"]


@pytest.mark.parametrize("killed_at", range(3))
def test_a_replacement_that_is_killed_at_any_step_is_completed_by_the_next_command(
    config: Path, runs: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
):
    make_run(runs / "fruit", MODEL_FILE, "evaluation.json")
    steps = iter(range(3))

    def kill(function):
        def call(*arguments):
            if next(steps) == killed_at:
                raise KeyboardInterrupt
            return function(*arguments)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", kill(Path.rename))
        patched.setattr(shutil, "rmtree", kill(shutil.rmtree))
        with pytest.raises(KeyboardInterrupt):
            train(config, "overwrite")

    assert len(list(runs.iterdir())) == 2

    complete_replacement(runs / "fruit")

    assert contents(runs / "fruit").keys() == {CONFIG_FILE, CHECKPOINT_FILE, MODEL_FILE}
    assert (runs / "fruit" / MODEL_FILE).read_text() == "new network"
    assert list(runs.iterdir()) == [runs / "fruit"]


def test_the_most_recently_trained_unfinished_run_is_resumed(config: Path, runs: Path):
    make_run(runs / "fruit", MODEL_FILE)
    for number, time_s in ((2, 1000), (3, 3000), (4, 2000)):
        make_run(runs / f"fruit-{number}")
        os.utime(runs / f"fruit-{number}" / CHECKPOINT_FILE, (time_s, time_s))

    assert train(config, "resume") == runs / "fruit-3"
    assert train(runs / "fruit-2" / CONFIG_FILE, "resume", name="fruit") == runs / "fruit-2"


def test_without_a_run_to_resume_a_new_one_is_started(config: Path, runs: Path):
    assert train(config, "resume") == runs / "fruit"

    with pytest.raises(TrainError, match=r"fruit: nothing is left to resume; .*--overwrite"):
        train(config, "resume")


def test_a_run_is_not_resumed_with_another_configuration(config: Path, runs: Path):
    earlier = make_run(runs / "fruit")
    write_config(config, seed=99)

    with pytest.raises(TrainError, match=r"another configuration than .*fruit\.yaml; continue it with its own"):
        train(config, "resume")

    assert contents(runs / "fruit") == earlier


@pytest.mark.parametrize("epochs", [0, 1])
@pytest.mark.parametrize("is_named_by_its_folder", [True, False])
def test_a_replacement_with_another_configuration_is_refused_with_ways_out(
    config: Path, runs: Path, epochs: int, *, is_named_by_its_folder: bool
):
    make_run(runs / "fruit", MODEL_FILE)
    replacement = make_run(runs / "fruit.replacement")
    if not epochs:  # killed before the first checkpoint
        (runs / "fruit.replacement" / CHECKPOINT_FILE).unlink()
    edited = write_config(runs / "fruit" / CONFIG_FILE if is_named_by_its_folder else config, seed=99)
    earlier = contents(runs / "fruit")

    with pytest.raises(TrainError) as raised, open_run(edited, "fruit", runs, "resume"):
        pass

    assert (
        f"continue it with its own one by `python -m train fit {runs}/fruit.replacement --resume`, or delete"
        f" {runs}/fruit.replacement and start again with --overwrite; {runs}/fruit is kept"
    ) in str(raised.value)
    assert contents(runs / "fruit") == earlier
    assert contents(runs / "fruit.replacement").keys() <= replacement.keys()

    elsewhere = config.parent / "elsewhere"
    with open_run(find_config(runs / "fruit.replacement"), "fruit", elsewhere, "resume") as run:
        assert (run.path, run.final_path) == (runs / "fruit.replacement", runs / "fruit")
        (run.path / MODEL_FILE).write_text("new network")

    assert (runs / "fruit" / MODEL_FILE).read_text() == "new network"
    assert list(runs.iterdir()) == [runs / "fruit"]


def test_the_configuration_of_a_run_can_be_trained_from(tmp_path: Path, runs: Path):
    earlier = make_run(runs / "fruit", MODEL_FILE)
    config = find_config(runs / "fruit")

    assert config == runs / "fruit" / CONFIG_FILE
    with open_run(config, "fruit", runs, "new") as run:
        assert run.path == runs / "fruit-2"
    assert contents(runs / "fruit") == earlier
    with open_run(config, "fruit", tmp_path / "elsewhere", "overwrite") as run:
        assert run.final_path == runs / "fruit"
        assert contents(run.path) == {CONFIG_FILE: earlier[CONFIG_FILE]}


def test_a_folder_with_a_configuration_is_not_taken_for_a_run(tmp_path: Path, runs: Path):
    config = write_config(tmp_path / "configs" / CONFIG_FILE)

    with open_run(config, "fruit", runs, "overwrite") as run:
        assert run.path == runs / "fruit"

    assert list(config.parent.iterdir()) == [config]


def test_a_run_of_another_model_is_not_replaced(tmp_path: Path, runs: Path):
    config = write_config(tmp_path / "fruit-2.yaml", "fruit-2")
    earlier = make_run(runs / "fruit-2", MODEL_FILE, name="fruit")

    with pytest.raises(TrainError, match="is a run of the model fruit, not of fruit-2"):
        train(config, "overwrite", name="fruit-2")

    assert contents(runs / "fruit-2") == earlier
    assert train(config, name="fruit-2") == runs / "fruit-2-2"


def test_a_run_that_is_being_trained_is_left_alone(config: Path, runs: Path):
    with open_run(config, "fruit", runs, "new") as run:
        assert train(config) == runs / "fruit-2"
        for start in ("resume", "overwrite"):
            with pytest.raises(TrainError, match="fruit is being trained by another process"):
                train(config, start)
        (run.path / CHECKPOINT_FILE).touch()
        with pytest.raises(TrainError, match="fruit is being trained by another process"):
            train(config, "overwrite")
        assert not (runs / "fruit.replacement").exists()

    with open_run(config, "fruit", runs, "overwrite") as run:
        (run.path / CHECKPOINT_FILE).touch()
        with pytest.raises(TrainError, match="fruit is being trained by another process"):
            train(config, "overwrite")


def test_the_folder_that_a_link_names_is_replaced(tmp_path: Path, config: Path, runs: Path):
    make_run(tmp_path / "disk" / "fruit", MODEL_FILE)
    (runs / "fruit").symlink_to(tmp_path / "disk" / "fruit")

    train(config, "overwrite")

    assert (runs / "fruit").is_symlink()
    assert (tmp_path / "disk" / "fruit" / MODEL_FILE).read_text() == "new network"


def test_a_replacement_that_is_about_to_take_its_place_is_left_to_its_training(config: Path, runs: Path):
    earlier = make_run(runs / "fruit", MODEL_FILE)

    with open_run(config, "fruit", runs, "overwrite") as run:
        (run.path / MODEL_FILE).write_text("new network")
        complete_replacement(runs / "fruit")
        assert contents(runs / "fruit") == earlier
