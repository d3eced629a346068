"""Commands that messages tell people to run."""

import shlex


def train_command(*arguments: object) -> str:
    """Return a command of `python -m train` as it is typed into a shell."""
    return shlex.join(["python", "-m", "train", *map(str, arguments)])
