"""Folders of runs: which one a training writes to, and how a new run replaces an earlier one.

The first run of a model is in `NAME`, further ones are in `NAME-2`, `NAME-3` and so on. A run that replaces another one
is written to the folder with `NEW` appended to its name, and takes the place of the earlier one when it has finished.
Until then nothing of the earlier run changes.
"""

import fcntl
import itertools
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import yaml

from train.commands import train_command
from train.config.run_names import CONFIG_FILE, MODEL_FILE
from train.config.training_config import load_config
from train.data.whole_file import replace_file
from train.errors import TrainError

CHECKPOINT_FILE = "checkpoint.npz"
NEW, OLD = ".replacement", ".replaced"
"""Appended to the folder's name of a run that replaces another one, and of the replaced one until it is deleted."""

Start: TypeAlias = Literal["new", "resume", "overwrite"]
"""How a training starts: as a further run, as the continuation of an unfinished one, or in place of an earlier one."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a training writes its files.

    Attributes:
        path: The folder.
        is_resumed: Whether the folder belongs to an unfinished run, which is continued.
        earlier: The run that has the name already; None if there is none.
        replaces_earlier: Whether this run takes the place of `earlier` when it has finished.
    """

    path: Path
    is_resumed: bool = False
    earlier: Path | None = None
    replaces_earlier: bool = False

    @property
    def final_path(self) -> Path:
        """The folder of the finished run."""
        return self.earlier if self.earlier and self.replaces_earlier else self.path


def find_config(path: Path) -> Path:
    """Return the path of a configuration, which may be given as the folder of its run.

    Raises:
        OSError: As for `complete_replacement`.
    """
    complete_replacement(path.parent if path.name == CONFIG_FILE else path)
    return path / CONFIG_FILE if path.is_dir() else path


@contextmanager
def open_run(config_path: Path, name: str, runs: Path, start: Start) -> Iterator[RunFolder]:
    """Choose the folder of a training, and lock it within a block.

    A run that ends without an error takes the place of the one that it replaces. If a new run fails before its first
    checkpoint, its folder is deleted.

    Args:
        config_path: Configuration of the run, which is copied to the folder. The copy in the folder of a run means
            that run, if it is resumed or overwritten.
        name: Name of the model.
        runs: Folder of the runs.
        start: How the training starts. Without any run to resume or to overwrite, a new one is started.

    Raises:
        TrainError: The run to resume is finished, has another configuration, or is being trained; or the run to
            overwrite belongs to another model, or has an unfinished replacement already.
        OSError: The folder cannot be written.
    """
    for folder in {path.with_suffix("") for path in runs.glob(f"{name}*")}:
        complete_replacement(folder)
    with ExitStack() as locks:
        run = _choose(config_path, name, runs, start, locks)
        is_empty = not any(run.path.iterdir())
        try:
            if not run.is_resumed:
                with replace_file(run.path / CONFIG_FILE) as copy:
                    shutil.copyfile(config_path, copy)
            yield run
        except BaseException:
            if is_empty and not has_checkpoint(run.path):
                shutil.rmtree(run.path)
            raise
        if run.replaces_earlier:
            _replace(run.final_path)


def has_checkpoint(run: Path) -> bool:
    """Return whether a run has finished at least one epoch."""
    return (run / CHECKPOINT_FILE).exists()


def is_finished(run: Path) -> bool:
    """Return whether a run has a trained network."""
    return (run / MODEL_FILE).exists()


def complete_replacement(run: Path) -> None:
    """Complete the replacement of a run by its finished successor if that was interrupted.

    Raises:
        OSError: A folder cannot be renamed or deleted.
    """
    run = run.resolve()
    successor, replaced = _append(run, NEW), _append(run, OLD)
    if not is_finished(successor) and not replaced.exists():
        return
    with ExitStack() as locks:
        folder = next(folder for folder in (successor, run, replaced) if folder.exists())
        if _lock(folder, locks):  # otherwise the training is about to do this
            _replace(run)


def _replace(run: Path) -> None:
    """Rename a run to `OLD` and its finished successor to the run's name, and delete the former.

    Whichever of these steps was the last one, a further call continues with the next one.
    """
    successor, replaced = _append(run, NEW), _append(run, OLD)
    if is_finished(successor):
        if run.exists():
            if replaced.exists():
                shutil.rmtree(replaced)
            run.rename(replaced)
        successor.rename(run)
    elif not run.exists():
        replaced.rename(run)
    if replaced.exists():
        shutil.rmtree(replaced)


def _choose(config_path: Path, name: str, runs: Path, start: Start, locks: ExitStack) -> RunFolder:
    named = _named_run(config_path)
    if start == "overwrite":
        return _overwrite(named or runs / name, name, locks)
    candidates = [named, _append(named, NEW)] if named else _list_runs(runs, name)
    if start == "resume" and (unfinished := _find_unfinished(candidates)):
        return _resume(unfinished, config_path, locks)
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    run = next(runs / each for each in names if _claim(runs / each, locks))
    return RunFolder(run, earlier=None if run.name == name else runs / name)


def _resume(run: Path, config_path: Path, locks: ExitStack) -> RunFolder:
    if load_config(run / CONFIG_FILE) != load_config(config_path):
        raise TrainError(_describe_other_config(run, config_path))
    if not _lock(run, locks):
        raise TrainError(_describe_use(run))
    if earlier := _replaced_run(run):
        return RunFolder(run, is_resumed=True, earlier=earlier, replaces_earlier=True)
    return RunFolder(run, is_resumed=True)


def _overwrite(run: Path, name: str, locks: ExitStack) -> RunFolder:
    run = _replaced_run(run) or run
    run = run.resolve() if run.is_symlink() else run
    if not has_checkpoint(run) and not is_finished(run):
        if not _claim(run, locks):
            raise TrainError(_describe_use(run))
        return RunFolder(run)
    if (owner := _read_name(run)) != name:
        raise TrainError(f"{run} is a run of the model {owner}, not of {name}; start without --overwrite")
    if not _lock(run, locks):  # its own training holds the lock, or that of its replacement
        raise TrainError(_describe_use(run))
    successor = _append(run, NEW)
    if has_checkpoint(successor):
        raise TrainError(
            f"{successor} is the unfinished replacement of {run}; continue it with"
            f" `{train_command('fit', successor, '--resume')}`, or delete that folder and start again; {run} is kept"
            " until a replacement has finished"
        )
    if not _claim(successor, locks):
        raise TrainError(_describe_use(successor))
    return RunFolder(successor, earlier=run, replaces_earlier=True)


def _claim(folder: Path, locks: ExitStack) -> bool:
    """Create and lock a folder, unless it has a run; one without a checkpoint is left over from a failed start."""
    folder.mkdir(parents=True, exist_ok=True)
    return not has_checkpoint(folder) and not is_finished(folder) and _lock(folder, locks)


def _lock(folder: Path, locks: ExitStack) -> bool:
    """Lock a folder until `locks` closes or the process ends; return False if another process has locked it."""
    descriptor = os.open(folder, os.O_RDONLY)
    locks.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _describe_other_config(run: Path, config_path: Path) -> str:
    """Describe an unfinished run that cannot be resumed with a configuration, and what to do."""
    earlier = _replaced_run(run)
    role = f"is the unfinished replacement of {earlier}, and" if earlier else "is unfinished, and"
    anew = f"delete {run} and start again with --overwrite" if earlier else "start another run without --resume"
    kept = f"; {earlier} is kept until a replacement has finished" if earlier else ""
    return (
        f"{run} {role} was started with another configuration than {config_path}; continue it with its own one by"
        f" `{train_command('fit', run, '--resume')}`, or {anew}{kept}"
    )


def _replaced_run(run: Path) -> Path | None:
    """Return the run that another one replaces once it has finished; None if it replaces none."""
    return run.with_suffix("") if run.suffix == NEW else None


def _describe_use(run: Path) -> str:
    return f"{run} is being trained by another process; wait until it has finished, or stop it"


def _find_unfinished(folders: list[Path]) -> Path | None:
    """Return the most recently trained run among those without a network; None if there are no runs.

    Raises:
        TrainError: All runs are finished.
    """
    runs = [folder for folder in folders if (folder / CONFIG_FILE).exists()]
    unfinished = [run for run in runs if not is_finished(run)]
    if runs and not unfinished:
        raise TrainError(
            f"{' and '.join(map(str, runs))}: nothing is left to resume; start another run without --resume, or replace"
            " one with --overwrite"
        )
    return max(unfinished, key=_last_written, default=None)


def _last_written(run: Path) -> float:
    return (run / (CHECKPOINT_FILE if has_checkpoint(run) else CONFIG_FILE)).stat().st_mtime


def _named_run(config_path: Path) -> Path | None:
    """Return the folder of the run whose copy a configuration is; None if it is not in the folder of a run."""
    run = config_path.parent if config_path.parent.name not in {"", ".."} else config_path.resolve().parent
    is_run = has_checkpoint(run) or is_finished(run) or _replaced_run(run)
    return run if config_path.name == CONFIG_FILE and is_run else None


def _list_runs(runs: Path, name: str) -> list[Path]:
    """Return the folders of a model's runs, including unfinished replacements."""
    pattern = re.compile(rf"{re.escape(name)}(-\d+)?({re.escape(NEW)})?")
    folders = sorted(path for path in runs.glob(f"{name}*") if pattern.fullmatch(path.name))
    return [folder for folder in folders if _read_name(folder) == name]


def _read_name(run: Path) -> str | None:
    """Return the name of a run's model; its configuration may be of an earlier version otherwise."""
    with suppress(OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError):
        name = yaml.safe_load((run / CONFIG_FILE).read_text(encoding="utf-8")).get("name")
        return None if name is None else str(name)
    return None


def _append(run: Path, suffix: str) -> Path:
    return run.with_name(run.name + suffix)
