"""RUN_DIR of `make run`: the folder for logs, jobs and temporary files, which one run uses at a time."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

from tools import invocation
from tools.models_config import display_path
from tools.programs import Options
from tools.start_checks import StartError


@contextlib.contextmanager
def scratch_folder(options: Options, repeated: Mapping[str, object]) -> Iterator[Path]:
    """Lock RUN_DIR and yield a folder in it that is removed afterwards.

    Args:
        options: The folder is their `run_dir`.
        repeated: Further options of the command that is proposed if another run uses the folder, by variable.

    Raises:
        StartError: Another run uses it, or it cannot be written to.
    """
    with contextlib.ExitStack() as resources:
        try:
            options.logs.mkdir(parents=True, exist_ok=True)
            lock = os.open(options.run_dir, os.O_RDONLY)
            resources.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            scratch = resources.enter_context(tempfile.TemporaryDirectory(prefix="state-", dir=options.run_dir))
        except BlockingIOError:
            other = display_path(choose_other(options.run_dir))
            command = invocation.with_options({**repeated, "RUN_DIR": other})
            raise StartError(
                f"{display_path(options.run_dir)} is in use by another `make run`. Choose another folder: {command}"
            ) from None
        except OSError as error:
            raise StartError(
                f"{invocation.option('RUN_DIR', options.run_dir)} cannot be used: {error.strerror}."
            ) from error
        yield Path(scratch)


def is_running(run_dir: Path) -> bool:
    """Return whether a `make run` of this machine uses a RUN_DIR."""
    try:
        lock = os.open(run_dir, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def choose_other(run_dir: Path) -> Path:
    """Return a folder beside RUN_DIR that no `make run` uses."""
    candidates = (run_dir.with_name(f"{run_dir.name}{number}") for number in count(2))
    return next(folder for folder in candidates if not is_running(folder))
