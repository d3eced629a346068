"""Compare changes of a training configuration over several splits of its data.

    python -m bench.training train/configs/weather.yaml --data FOLDER --seeds 10 \
        --change "model.kind=efficientnet_lite2 input.height=260 input.width=260" --change training.loss=focal

Each seed is another split, other initial weights and another order of the images. All variants are measured with the
same seeds, so their differences from the configuration as it is are paired. What is printed is a Markdown table: the
mean of each metric over the seeds, its standard error, and the same of the difference.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import yaml

from train.config.training_config import TrainingConfig
from train.data.examples import to_inputs
from train.data.load import load_splits
from train.evaluation.evaluate import compute_metrics
from train.training.loop import fit
from train.verification.assess import assess

UNCHANGED = "as it is"
METRICS = {"multiclass": ("accuracy", "mean recall"), "multilabel": ("micro_f1", "macro_f1")}

Table: TypeAlias = Mapping[str, npt.NDArray[np.float64]]
"""Metrics of each variant: float64[seeds, metrics]."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all variants, and print the table after each seed."""
    parser = argparse.ArgumentParser(prog="python -m bench.training", description=__doc__.partition("\n")[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, help="folder of the data set, instead of the configuration's")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (3)")
    parser.add_argument("--change", action="append", default=[], help="KEY=VALUE ..., a variant; repeatable")
    options = parser.parse_args(arguments)
    document = yaml.safe_load(options.config.read_text(encoding="utf-8"))
    changes = [UNCHANGED, *options.change]
    rows: dict[str, list[list[float]]] = {change: [] for change in changes}
    for seed in range(1, options.seeds + 1):
        for change in changes:
            changed = document if change == UNCHANGED else apply_change(document, change)
            rows[change].append(measure(TrainingConfig.model_validate({**changed, "seed": seed}), options.data))
        names = (*METRICS[document.get("task", "multiclass")], "calibration error")
        sys.stdout.write(f"\n{format_table({name: np.array(values) for name, values in rows.items()}, names)}\n")
        sys.stdout.flush()


def apply_change(document: Mapping[str, Any], change: str) -> dict[str, Any]:
    """Return a configuration with other values of some keys, such as `training.loss=focal augmentation.flip=true`."""
    changed: dict[str, Any] = yaml.safe_load(yaml.safe_dump(dict(document)))
    for setting in change.split():
        path, _, value = setting.partition("=")
        *sections, key = path.split(".")
        section = changed
        for name in sections:
            section = section.setdefault(name, {})
        section[key] = yaml.safe_load(value)
    return changed


def measure(config: TrainingConfig, directory: Path | None) -> list[float]:
    """Train a network, calibrate it, and return its metrics on the test images.

    Args:
        config: Configuration of the run.
        directory: Folder of the data set, instead of the configuration's.
    """
    splits = load_splits(config, lambda *_: None, directory)
    train, validation = (
        to_inputs(part, config.input, len(config.labels)) for part in (splits.train, splits.validation)
    )
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        model = fit(config, train, validation, Path(folder), lambda _: None)
    metrics = compute_metrics(assess(config, model, splits).test, config.labels)
    recalls = [label["recall"] or 0.0 for label in metrics["per_class"]]
    metrics["mean recall"] = float(np.mean(recalls))
    return [metrics[name] or 0.0 for name in (*METRICS[config.task], "calibration_error")]


def format_table(table: Table, names: Sequence[str]) -> str:
    """Return a Markdown table: mean and standard error of each metric, and of its difference from the first variant."""
    base = table[UNCHANGED]
    lines = ["| change | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for name, values in table.items():
        cells = [format_mean(column) for column in values.T]
        if name != UNCHANGED:
            differences = (values - base).T
            cells = [f"{cell} ({format_mean(column, '+')})" for cell, column in zip(cells, differences, strict=True)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def format_mean(values: npt.NDArray[np.float64], sign: str = "") -> str:
    """Return the mean of some values and its standard error, which one value alone does not have."""
    error = f" ± {np.std(values, ddof=1) / np.sqrt(len(values)):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):{sign}.3f}{error}"


if __name__ == "__main__":
    main()
