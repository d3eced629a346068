"""`python -m train predict`: ask a run or an exported version about pictures, without any server."""

# What brings in TensorFlow is imported when the command runs, for --help need not wait seconds for it.
# ruff: noqa: PLC0415

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from train.cli.console import console
from train.data.examples import MAX_PIXELS, Predict
from train.errors import TrainError
from train.evaluation.assessment import read_calibration
from train.evaluation.calibrate import Calibration
from vision.card import Card
from vision.decode import ImageError
from vision.postprocess import ClassScore, at_or_above, top_k
from vision.preprocess import load


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says about one picture.

    Attributes:
        ranked: The likeliest classes, likeliest first.
        present: Of a multi-label model, the classes at or above their thresholds; None of others.
        unsure: Whether the likeliest is below the threshold under which it is better to say nothing.
    """

    ranked: list[ClassScore]
    present: list[ClassScore] | None
    unsure: bool


@dataclass(frozen=True, slots=True)
class Offline:
    """A model in this process.

    Attributes:
        card: What it takes, and what its answers mean.
        predict: The model.
    """

    card: Card
    predict: Predict

    def classify(self, data: bytes, top: int) -> Answer:
        """Ask about one encoded image, prepared as in the gateway.

        Raises:
            ImageError: It cannot be decoded.
        """
        image = load(data, self.card.input, max_pixels=MAX_PIXELS)
        scores = self.predict(np.asarray(image, np.uint8)[None])[0]
        ranked = top_k(scores, self.card.labels, top)
        if self.card.task == "multilabel":
            return Answer(ranked, at_or_above(scores, self.card.labels, self.card.threshold), unsure=False)
        limit = self.card.metrics.get("abstain_below") or 0.0
        return Answer(ranked, None, unsure=bool(ranked[0].score < limit))


def predict(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="A finished run, an exported version, or the folder of its versions."),
    ],
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Image files.")],
    top: Annotated[int, typer.Option("--top-k", min=1, help="How many classes to rank.")] = 3,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line, with members as in the API.")] = False,
) -> None:
    """Tell what a model sees in pictures, without any server: just what the gateway would answer.

    A run that has been evaluated answers with the probabilities and thresholds that an export of it would have.
    Ends with status 1 if a picture could not be read.
    """
    offline = open_model(model)
    failed = False
    for photo in photos:
        try:
            answer = offline.classify(photo.read_bytes(), top)
        except (ImageError, OSError) as error:
            failed = True
            told = {"file": str(photo), "error": str(error)}
            line = json.dumps(told, ensure_ascii=False) if as_json else f"{photo}: {error}"
        else:
            told = {"file": str(photo)} | _members(answer)
            line = json.dumps(told, ensure_ascii=False) if as_json else f"{photo}: {_told(answer)}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def open_model(path: Path) -> Offline:
    """Open a run's folder, a version's, or that of a model's versions, of which the newest is taken.

    Raises:
        TrainError: It is none of these, or cannot be read.
    """
    if not path.is_dir():
        raise TrainError(f"{path} is no folder; expected a finished run, such as runs/digits, or an exported version")
    from train.training.run import CONFIG_FILE

    if (path / CONFIG_FILE).exists():
        return _open_run(path)
    from train.export.savedmodel import load_version, newest_version

    version = load_version(path if (path / "saved_model.pb").exists() else newest_version(path))
    return Offline(version.card, version.predict)


def _open_run(path: Path) -> Offline:
    from train.training.loop import predictor
    from train.training.run import load_run
    from train.verification.assess import set_temperature

    config, model = load_run(path)
    calibration = read_calibration(path) or Calibration()
    set_temperature(model, calibration.temperature)
    card = Card(
        name=config.name,
        labels=config.labels,
        input=config.input,
        task=config.task,
        threshold=calibration.thresholds or 0.5,
        metrics={"abstain_below": calibration.abstain_below},
    )
    return Offline(card, predictor(model))


def _told(answer: Answer) -> str:
    chances = ", ".join(f"{each.label} {each.score:.1%}" for each in answer.ranked)
    if answer.present is not None:
        return f"{', '.join(each.label for each in answer.present) or 'none'} ({chances})"
    return f"{chances}; unsure" if answer.unsure else chances


def _members(answer: Answer) -> dict[str, Any]:
    ranked = [_member(each) for each in answer.ranked]
    present = {} if answer.present is None else {"classes": [_member(each) for each in answer.present]}
    return {**ranked[0], "predictions": ranked, **present, "unsure": answer.unsure}


def _member(prediction: ClassScore) -> dict[str, Any]:
    values = asdict(prediction)
    return {"class": values.pop("label"), **values}
