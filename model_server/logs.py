"""The form of a line in the log, of the server and of the processes that it starts."""

LOG_FORMAT = "%(asctime)s %(levelname).1s %(name)s: %(message)s"
