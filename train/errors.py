"""Base class of the errors that a command reports as one message and exit status 2."""


class TrainError(Exception):
    """A problem that the user can fix; the message says what is wrong and what to do."""
