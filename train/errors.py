"""The failure that every command turns into one message and an exit status."""


class TrainError(Exception):
    """Something that the person at the command line can put right; the message says what and how."""
