"""Entry point of `python -m train`: a problem that the user can fix ends with one message and status 2."""

import logging
import os
import sys

try:
    from train.cli.console import console, describe_error
    from train.cli.main import app
    from train.cli.native_notes import hide_native_notes
    from train.errors import TrainError
except ModuleNotFoundError as error:
    print(  # noqa: T201  # a command's output
        f"error: {error.name} is not installed, which python -m train needs. Run: make .venv/.dev-ready",
        file=sys.stderr,
    )
    sys.exit(2)

if __name__ == "__main__":
    # Hide TensorFlow's notes and warnings, which are for developers.
    hide_native_notes()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        app(prog_name="python -m train")
    except (TrainError, OSError) as error:
        console.print(f"error: {describe_error(error)}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
