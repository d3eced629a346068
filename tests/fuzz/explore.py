"""Let atheris (libFuzzer) look for inputs that make one target fail.

    python -m tests.fuzz.explore TARGET CORPUS… -max_total_time=SECONDS

The Python code is instrumented, the parsers of headers and requests with it; OpenCV's decoders run as they are.
"""

import importlib
import sys

import atheris

if __name__ == "__main__":
    with atheris.instrument_imports(include=["gateway", "vision", "werkzeug"]):
        target = importlib.import_module(f"tests.fuzz.{sys.argv[1]}")
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target.one_input)
    atheris.Fuzz()
