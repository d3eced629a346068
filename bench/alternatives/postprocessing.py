"""Turn scores into the answer of the alternatives, without TensorFlow, so that all of them can use it."""

from typing import Any

import numpy as np
import numpy.typing as npt


def top_classes(scores: npt.NDArray[np.float32]) -> list[dict[str, Any]]:
    """Return the five best classes of float32[K], best first."""
    best = np.argsort(scores)[::-1][:5]
    return [{"class_id": int(index), "score": float(scores[index])} for index in best]
