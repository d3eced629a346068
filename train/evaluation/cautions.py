"""Warnings of an evaluation: what its figures rest on, and which classes a model does not know."""

import math
from collections.abc import Mapping
from typing import Any

from train.evaluation.calibrate import min_answered

FEW_IMAGES = 100
"""With fewer validation images a temperature is uncertain by a tenth and more."""


def list_warnings(summary: Mapping[str, Any], answered_accuracy: float | None) -> list[str]:
    """Return one sentence for each warning.

    Args:
        summary: The result of `train.evaluation.assessment.summarise`.
        answered_accuracy: As in the configuration; None if the model abstains by another score than the highest
            probability (`confident_share`), which needs no threshold of that.
    """
    warnings = [
        f"{values['class']}: no test image, so nothing is known of how well it is recognised; collect more images of"
        " this class"
        for values in summary["per_class"]
        if values["images"] == 0
    ]
    warnings += [
        f"{values['class']}: none of {values['images']} test image{'s' if values['images'] > 1 else ''} recognised;"
        " collect more images of this class, or give its images more weight"
        for values in summary["per_class"]
        if values["recall"] == 0
    ]
    if "validation" not in summary:
        return warnings
    few_images = few_images_warning(summary["validation"]["images"], "validation", "data.validation")
    warnings += [few_images] if few_images else []
    if answered_accuracy is not None and "thresholds" not in summary and "abstain_below" not in summary:
        needed = min_answered(answered_accuracy)
        count = (
            "more answered validation images than there can be"
            if math.isinf(needed)
            else (f"{needed} answered validation images or more, nearly all of them right")
        )
        warnings.append(
            f"no threshold for abstaining: an answered_accuracy of {answered_accuracy:g} takes {count}; 0.95 takes 20"
        )
    return warnings


def few_images_warning(images: int, kind: str, source: str) -> str | None:
    """Return the warning that a calibration rests on few images; None from `FEW_IMAGES` on.

    Args:
        images: Number of images that a network was calibrated on.
        kind: What they are called.
        source: The setting or option by which there are more.
    """
    if images >= FEW_IMAGES:
        return None
    return (
        f"only {images} {kind} image{'s' if images > 1 else ''}: the temperature and the thresholds are uncertain; give"
        f" {FEW_IMAGES} or more ({source})"
    )
