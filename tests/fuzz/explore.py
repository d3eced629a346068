"""Search with atheris (libFuzzer) for inputs that make one target fail.

    python -m tests.fuzz.explore TARGET CORPUS… -max_total_time=SECONDS

Our Python code and werkzeug's are instrumented; OpenCV's decoders are not.
"""

import importlib
import sys

import atheris

if __name__ == "__main__":
    with atheris.instrument_imports(include=["gateway", "vision", "werkzeug"]):
        target = importlib.import_module(f"tests.fuzz.{sys.argv[1]}")
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target.one_input)
    atheris.Fuzz()
