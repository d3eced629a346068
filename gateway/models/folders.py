"""What keeps the model server from serving a model, as far as the folder of the model shows it.

The model server itself only logs it, and its status of such a model says nothing.
"""

import os
import re
import string
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tfs_api.base_paths import local_folder

if TYPE_CHECKING:
    from gateway.model_client.protocol import VersionStatus

SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
"""Either makes a folder a SavedModel."""
TFLITE_FILE = "model.tflite"
"""What a model server with `--prefer_tflite_model` serves, alone or beside a SavedModel."""
MODEL_FILES = (*SAVED_MODEL_FILES, TFLITE_FILE)
"""Any of them makes a folder a version that can be served."""
MAX_VERSION = 2**63 - 1
"""Version numbers are int64."""
MAX_ENTRIES = 1000
"""How many entries of a folder are looked at."""
MAX_NESTING = 3
"""How deep below a folder a misplaced version is looked for."""
PLATFORM = "tensorflow"
"""The one `model_platform` that the model server has."""
POINTERS = {b"version https://git-lfs": "git lfs pull", b"/annex/objects/": "git annex get ."}
"""The command that puts the content into a file that only points to it, by what such a file begins with."""
COPY_AGAIN = "Copy the model again."
_REMOTE_URI = re.compile(r"file://(?!/|localhost/)")
"""The beginning of a folder's URI that has two slashes in place of three: its first folder is taken for a host."""
LOAD_FAULTS = {
    "as binary proto": "Its saved_model.pb is damaged, or not the file of a SavedModel. Copy or export it again.",
    "as text proto": "Its saved_model.pbtxt is damaged, or not the file of a SavedModel. Copy or export it again.",
    "meta graph def matching supplied tags": "It has no graph with the one tag `serve`, which is the one that is "
    "served. Export it again with model.export(FOLDER) or tf.saved_model.save.",
    "appear to contain a SavedModel": f"The model server found no SavedModel in it. {TFLITE_FILE} alone is served "
    "only by a model server with --prefer_tflite_model, and not on a GPU. Start it with that flag, "
    "or add the SavedModel.",
    "Cannot build Interpreter": f"Its {TFLITE_FILE} is damaged, or not the file of a TensorFlow Lite model. Copy or "
    "export it again.",
    "TensorFlow Lite crashes on this file": f"Its {TFLITE_FILE} is damaged: TensorFlow Lite crashes on it. Copy or "
    "export it again.",
    "TensorFlow Lite does not compute this file": f"Its {TFLITE_FILE} may be damaged: computing it takes too long. "
    "Copy or export it again.",
    "Unknown TfLite type": f"Its {TFLITE_FILE} has an input or output of a type that TensorFlow Serving does not know. "
    "Export it with uint8, integers or float32.",
    "does not fit into": f"Its {TFLITE_FILE} takes more memory than --max_computation_bytes of the model server.",
    "bytes than requested": f"Its files in `variables` are cut off. {COPY_AGAIN}",
    "Checksum does not match": f"Its files in `variables` are damaged. {COPY_AGAIN}",
    "sstable": f"Its files in `variables` are damaged. {COPY_AGAIN}",
    "needs TensorFlow, which is not installed": f"It has no {TFLITE_FILE}, and TensorFlow is not installed. Run "
    "`make tensorflow`, then start `make run` again; for a container, build the model server's image with "
    "EXTRA=tensorflow (in Compose: MODEL_SERVER_EXTRA=tensorflow).",
    "Op type not registered": "It has an operation that the model server does not know. Export it without the "
    "operations of additional packages.",
}
"""What is wrong with a version and what mends it, by what the model server's message about it contains."""
KERAS_ADVICE = (
    'Write a SavedModel of it, in Python: keras.models.load_model("{file}").export("{version}"); '
    "or with a card: python -m train import-keras {file} --card CARD.json --pictures FOLDER."
)
TORCH_ADVICE = (
    "Convert it: python -m train import-torch {file} --card CARD.json --pictures FOLDER (ResNets), "
    "or torch.onnx.export and then onnx2tf -i model.onnx -o {version}."
)
ADVICE = {
    ".weights.h5": 'It contains only weights. In Python: model.load_weights("{file}"), then model.export("{version}").',
    ".keras": KERAS_ADVICE,
    ".h5": KERAS_ADVICE,
    ".hdf5": KERAS_ADVICE,
    ".pt": TORCH_ADVICE,
    ".pth": TORCH_ADVICE,
    ".safetensors": TORCH_ADVICE,
    ".onnx": "Convert it: onnx2tf -i {file} -o {version}.",
    ".tflite": f"To serve it on processors: mkdir -p {{version}} && cp {{file}} {{version}}/{TFLITE_FILE}.",
    ".zip": "Unpack it into {version}.",
    ".tar": "Unpack it into {version}.",
    ".gz": "Unpack it into {version}.",
    ".tgz": "Unpack it into {version}.",
}
"""How a SavedModel is made of a file that is not one, by the end of the file's name."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """Where the model server looks for the versions of a model.

    Attributes:
        base_path: The folder as `models.config` names it, or its URI.
        path: The same folder as this process names it; meaningless if it is not local.
        versions: The versions that `models.config` requests; empty for the newest.
        platform: The `model_platform` of its entry.
    """

    base_path: str
    path: Path
    versions: frozenset[int] = frozenset()
    platform: str = PLATFORM

    @classmethod
    def configured(cls, base_path: str, config: Path, versions: Iterable[int] = (), platform: str = PLATFORM) -> Self:
        """Return the folder that an entry of the file `config` names.

        A relative path is relative to the model server's working directory. That is the current folder or, in
        containers, the one around the folder of `config`.
        """
        path = local_folder(base_path) or Path(base_path)
        if not path.is_absolute() and not path.parent.is_dir():
            path = config.parent.parent / path
        return cls(base_path, path, frozenset(versions), platform)

    @property
    def is_local(self) -> bool:
        """Whether it is a folder, and not the URI of another file system such as `s3://models/digits`."""
        return local_folder(self.base_path) is not None

    @property
    def is_visible(self) -> bool:
        """Whether this process sees the folder around it. If not, the model server may run on another machine."""
        return self.is_local and self.path.parent.is_dir()

    def describe_fault(self) -> str | None:
        """Return in a sentence or two what is wrong and what mends it; None if nothing is, as far as can be seen."""
        if self.platform != PLATFORM:
            return f"{describe_platform(self.platform)} Until then the model server refuses the whole file."
        if not self.base_path:
            return "Its entry in models.config has no base_path. Add the folder with its versions."
        if not self.is_local:
            return None
        try:
            return self._describe_fault(self.path)
        except OSError as error:
            return f"{error.filename or self.path} cannot be read: {error.strerror}."

    def _describe_fault(self, folder: Path) -> str | None:
        if not folder.is_dir():
            hint = " The URI of a folder has three slashes." if _REMOTE_URI.match(self.base_path) else ""
            return _describe_missing(folder, f"Correct base_path in models.config.{hint}")
        versions = {number: path for path in _entries(folder) if (number := version_number(path.name)) is not None}
        if not versions:
            return _describe_no_version(folder)
        missing = sorted(self.versions - versions.keys())
        if missing:
            present = ", ".join(map(str, sorted(versions)))
            return f"models.config requests version {missing[0]}, but {folder} has {present}."
        faults = (describe_version_fault(versions[number]) for number in self.versions or {max(versions)})
        return next(filter(None, faults), None)


def describe_unavailability(folder: ModelFolder | None, statuses: Sequence["VersionStatus"]) -> str:
    """Return the end of the sentence "The model server has no version of NAME ready".

    Args:
        folder: Where the model server looks for the model; None if that is not known.
        statuses: Its versions that the model server knows, none of which is available.
    """
    fault = _recent_fault(folder, int(time.monotonic())) if folder is not None else None
    if fault:
        return f": {fault}"
    failed = next((status for status in statuses if status.message), None)
    if failed:
        return f": version {failed.version} could not be loaded. {describe_load_fault(failed.message)}"
    if folder is not None and not statuses:
        return f": it has found none in {folder.base_path} yet. Check base_path in models.config, or try again shortly."
    return ". Try again shortly."


@lru_cache(maxsize=MAX_ENTRIES)
def _recent_fault(folder: ModelFolder, _second: int) -> str | None:
    """Return the fault of a folder that is visible; every request for its model needs it, so one a second looks."""
    return folder.describe_fault() if folder.is_visible or folder.platform != PLATFORM else None


def describe_load_fault(message: str) -> str:
    """Return in one line what is wrong with a version and what mends it.

    Args:
        message: The model server's message about the version.
    """
    known = next((fault for part, fault in LOAD_FAULTS.items() if part in message), None)
    return known or f"The model server says: {' '.join(message.split()).rstrip('.')}. Export the model again."


def describe_platform(platform: str) -> str:
    """Return what is wrong with the `model_platform` of an entry, and what mends it."""
    if platform:
        return f'Its entry in models.config has model_platform: "{platform}". Write "{PLATFORM}" instead.'
    return f'Its entry in models.config lacks model_platform: "{PLATFORM}". Add it.'


def version_number(name: str) -> int | None:
    """Return the version that an entry of a model's folder is by its name, as the model server reads it."""
    number = name.strip()
    return int(number) if number.isascii() and number.isdigit() and int(number) <= MAX_VERSION else None


def describe_version_fault(version: Path) -> str | None:
    """Return why a folder cannot be loaded as a version, and what mends it; None if its models look complete.

    Raises:
        OSError: It cannot be read.
    """
    if not version.is_dir():
        return _describe_missing(version, f"Put a SavedModel or {TFLITE_FILE} there.")
    if not has_model(version):
        return _describe_no_model(version, version)
    links_or_files = [version / name for name in MODEL_FILES if os.path.lexists(version / name)]
    model_files = list(filter(Path.exists, links_or_files)) or links_or_files[:1]
    variables = sorted((version / "variables").glob("variables.*"))
    fault = next(filter(None, map(_describe_file_fault, [*model_files, *variables])), None)
    if fault:
        return fault
    incomplete = _missing_variables(version)
    return f"{version / incomplete} is missing. {COPY_AGAIN}" if incomplete else None


def has_model(folder: Path) -> bool:
    """Return whether a folder has one of `MODEL_FILES`, even if that is a link to nothing or empty."""
    return any(os.path.lexists(folder / name) for name in MODEL_FILES)


def has_saved_model(version: Path) -> bool:
    """Return whether a version has the graph of a SavedModel."""
    return any((version / name).is_file() for name in SAVED_MODEL_FILES)


def needs_tflite(version: Path) -> bool:
    """Return whether only a model server with `--prefer_tflite_model` can serve a version."""
    return (version / TFLITE_FILE).is_file() and not has_saved_model(version)


def _describe_file_fault(file: Path) -> str | None:
    """Return why a file of a model is none, and what mends it; None if it has content of its own.

    Raises:
        OSError: It cannot be read.
    """
    if not file.exists():
        return _describe_dangling(file)
    if not file.is_file():
        return f"{file} is not a file, but a model has one of this name. {COPY_AGAIN}"
    with file.open("rb") as content:
        start = content.read(max(map(len, POINTERS)))
    if not start:
        return f"{file} is empty. {COPY_AGAIN}"
    command = next((command for mark, command in POINTERS.items() if start.startswith(mark)), None)
    return f"{file} only points to its content. Fetch that: {command}" if command else None


def _describe_dangling(link: Path) -> str:
    return f"{link} is a link to {link.readlink()}, which does not exist. Correct the link."


def _describe_missing(path: Path, advice: str) -> str:
    if path.is_symlink() and not path.exists():
        return _describe_dangling(path)
    if not path.exists():
        return f"The folder {path} does not exist. {advice}"
    foreign = describe_foreign(path, path.parent / "1")
    return foreign or f"{path} is a file, not a folder with a SavedModel. Remove it or give it another name."


def _describe_no_version(folder: Path) -> str:
    """Describe a model's folder in which no entry is named by a version number."""
    if has_model(folder):
        return f"{folder} has a model itself, without the folder of a version. Move its files to {folder / '1'}."
    for path in _entries(folder):
        if path.is_dir() and has_model(path):
            return (
                f"{path} is not named like a version, by a whole number. Rename it to {folder / _number_in(path.name)}."
            )
    return _describe_no_model(folder, folder / "1")


def _number_in(name: str) -> str:
    """Return the first number in a name, such as 2 in `v2`, if it can be a version's; otherwise 1."""
    digits = "".join(character if character in string.digits else " " for character in name).split()
    return digits[0] if digits and version_number(digits[0]) is not None else "1"


def _describe_no_model(folder: Path, version: Path) -> str:
    """Describe a folder without a model's file; `version` is where the model belongs."""
    for path in _entries(folder):
        foreign = describe_foreign(path, version)
        if foreign:
            return foreign
    nested = next(find_nested_models(folder), None)
    if nested:
        return f"The model is in {nested}, too deep. Move its files to {version}."
    names = [path.name for path in _entries(folder)]
    if not names:
        return f"{folder} is empty. Put a SavedModel or {TFLITE_FILE} into {version}."
    found = f"{', '.join(names[:3])}{', …' if len(names) > len(names[:3]) else ''}"
    missing = f"{SAVED_MODEL_FILES[0]} or {TFLITE_FILE}"
    return f"{folder} contains {found}, and no {missing}. Put one into {version}."


def describe_foreign(path: Path, version: Path) -> str | None:
    """Return what to do with a file of another kind than a SavedModel; None for any other entry."""
    end = _foreign_ending(path)
    if not end or not path.is_file():
        return None
    return f"{path} is not a SavedModel. {ADVICE[end].format(file=path, version=version)}"


def strip_ending(path: Path) -> str:
    """Return the name of a file of another kind than a SavedModel without what names the kind."""
    return path.name[: len(path.name) - len(_foreign_ending(path))].removesuffix(".tar") or path.name


def _foreign_ending(path: Path) -> str:
    return next((end for end in ADVICE if path.name.lower().endswith(end)), "")


def _missing_variables(version: Path) -> str | None:
    """Return the file of the variables that is missing; all of its shards belong to a SavedModel that has one."""
    names = {path.name for path in (version / "variables").glob("variables.*")}
    shards = sorted(name for name in names if name.startswith("variables.data-"))
    if not names:
        return None
    count = int(shards[0].rpartition("-")[2]) if shards and shards[0][-1].isdigit() else 1
    expected = ["variables.index", *(f"variables.data-{shard:05d}-of-{count:05d}" for shard in range(count))]
    return next((f"variables/{name}" for name in expected if name not in names), None)


def find_nested_models(folder: Path, depth: int = MAX_NESTING) -> Iterator[Path]:
    """Yield folders below `folder` that have a model."""
    for path in _entries(folder) if depth else ():
        if path.is_dir() and not path.is_symlink():
            if has_model(path):
                yield path
            yield from find_nested_models(path, depth - 1)


def _entries(folder: Path) -> list[Path]:
    """List the entries of a folder, sorted, without hidden ones such as .DS_Store."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry, _ in zip(entries, range(MAX_ENTRIES), strict=False))
    return [folder / name for name in names if not name.startswith(".")]
