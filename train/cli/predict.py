"""`python -m train predict`: classifies images by a run or an exported version, without a server."""

# Modules that import TensorFlow are imported by the command, since TensorFlow would delay --help by seconds.
# ruff: noqa: PLC0415

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from train.cli.console import console, describe_error
from train.config.run_names import CONFIG_FILE
from train.data.examples import Predict
from train.data.image_loading import load
from train.errors import TrainError
from train.evaluation.assessment import read_calibration
from train.evaluation.calibrate import Calibration
from train.training.run_folder import complete_replacement
from vision.card import Card
from vision.decode import ImageError
from vision.postprocess import ClassScore, at_or_above, is_confident, top_k


@dataclass(frozen=True, slots=True)
class OfflinePrediction:
    """Prediction for one image.

    Attributes:
        ranked: The most likely classes, in descending order.
        present: The classes at or above their thresholds, for a multilabel model; otherwise None.
        confident: Whether the model is sure of the most likely class; None if its card has no `abstain_below`.
    """

    ranked: list[ClassScore]
    present: list[ClassScore] | None
    confident: bool | None

    @property
    def unsure(self) -> bool:
        """Whether the model says that it is not sure."""
        return self.confident is False


@dataclass(frozen=True, slots=True)
class OfflineModel:
    """A model loaded into this process.

    Attributes:
        card: The model card.
        predict: The model.
        confidence: The output that the card names as `output.confidence`, float32[N]; None without one.
    """

    card: Card
    predict: Predict
    confidence: Predict | None = None

    def classify(self, data: bytes, top: int) -> OfflinePrediction:
        """Classify an encoded image, preprocessed as in the gateway.

        Raises:
            ImageError: The image cannot be decoded.
        """
        image = load(data, self.card.input)
        batch = np.asarray(image, np.uint8)[None]
        scores = self.predict(batch)[0]
        ranked = top_k(scores, self.card.labels, top)
        present = at_or_above(scores, self.card.labels, self.card.threshold) if self.card.task == "multilabel" else None
        confidence = None if self.confidence is None else float(self.confidence(batch)[0])
        return OfflinePrediction(ranked, present, is_confident(self.card, ranked[0].score, confidence))


def predict(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="A finished run, an exported version, or the folder of its versions."),
    ],
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Image files.")],
    top: Annotated[int, typer.Option("--top-k", min=1, help="Number of classes to return.")] = 3,
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line, with members as in the API.")
    ] = False,
) -> None:
    """Classify images without a server, with the results that the gateway would return.

    An evaluated run predicts with the same probabilities and thresholds as its export.
    Ends with status 1 if an image could not be read.
    """
    offline_model = open_model(model)
    failed = False
    for photo in photos:
        try:
            prediction = offline_model.classify(photo.read_bytes(), top)
        except (ImageError, OSError) as error:
            failed = True
            problem = describe_error(error) if isinstance(error, OSError) else str(error)
            members = {"file": str(photo), "error": problem}
            line = json.dumps(members, ensure_ascii=False) if as_json else f"{photo}: {problem}"
        else:
            members = {"file": str(photo)} | _to_members(prediction)
            line = json.dumps(members, ensure_ascii=False) if as_json else f"{photo}: {_to_text(prediction)}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def open_model(path: Path) -> OfflineModel:
    """Open the folder of a run, of a version, or of a model, whose newest version is opened.

    Raises:
        TrainError: The folder is none of these, or cannot be read.
    """
    complete_replacement(path)
    if not path.is_dir():
        raise TrainError(
            f"{path} is not a folder; expected a finished run, such as runs/digits, or an exported version"
        )
    if (path / CONFIG_FILE).exists():
        return _open_run(path)
    from train.export.savedmodel import load_version, newest_version

    version = load_version(path if (path / "saved_model.pb").exists() else newest_version(path))
    confidence = None if version.card.output.confidence is None else version.predict_confidence
    return OfflineModel(version.card, version.predict, confidence)


def _open_run(path: Path) -> OfflineModel:
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
        abstain_below=calibration.abstain_below,
    )
    return OfflineModel(card, predictor(model))


def _to_text(prediction: OfflinePrediction) -> str:
    scores = ", ".join(f"{each.label} {each.score:.1%}" for each in prediction.ranked)
    if prediction.present is not None:
        return f"{', '.join(each.label for each in prediction.present) or 'none'} ({scores})"
    return f"not sure, perhaps {scores}" if prediction.unsure else scores


def _to_members(prediction: OfflinePrediction) -> dict[str, Any]:
    ranked = [_to_member(each) for each in prediction.ranked]
    present = {} if prediction.present is None else {"classes": [_to_member(each) for each in prediction.present]}
    confident = {} if prediction.confident is None else {"confident": prediction.confident}
    return {**ranked[0], **confident, "predictions": ranked, **present, "unsure": prediction.unsure}


def _to_member(prediction: ClassScore) -> dict[str, Any]:
    values = asdict(prediction)
    return {"class": values.pop("label"), **values}
