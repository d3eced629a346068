"""Read, check and extend a `models.config` file: the models that the model server serves."""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format

from gateway.models.configured import ModelEntries, ModelsConfigError, parse_entries
from gateway.models.folders import PLATFORM, ModelFolder, describe_platform, version_number
from tfs_api.protos import model_server_config_pb2
from tools import invocation

ROOT = Path(__file__).parents[1]
COMMITTED_MODELS = ROOT / "serving_models"
EXAMPLES = ROOT / "examples"
"""Photos to try a model with."""
EMPTY = "model_config_list {\n}\n"
TOKEN = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{}<>]""")
"""Comments, strings and brackets of protobuf's text format."""
GOLDEN = "assets.extra/golden/*"
GOLDEN_INDEX = "golden.json"
NO_SAMPLE = "YOUR_IMAGE.jpg"
"""What stands for an image if there is none."""
OPENING, CLOSING = ("{", "<"), ("}", ">")


def read_entries(config: Path) -> ModelEntries:
    """Return the models of a file, with their folders.

    Raises:
        ModelsConfigError: It cannot be read, is malformed or lists no models, or the model server refuses it: an entry
            without a platform or with another one, two with one name.
    """
    text = read_text(config)
    entries = parse_entries(text, config)
    names: set[str] = set()
    for entry in _parse(text, config).model_config_list.config:
        if entry.name in names:
            raise ModelsConfigError(f"{config} has two entries with the name {entry.name}. Rename or remove one.")
        if entry.model_platform != PLATFORM:
            raise ModelsConfigError(f"{config}, {entry.name}: {describe_platform(entry.model_platform)}")
        names.add(entry.name)
    return entries


def find_served_versions(config: Path) -> Mapping[str, list[Path]]:
    """Return the folders of the versions that are there and that each model's policy selects, by the model's name.

    Raises:
        ModelsConfigError: The configuration cannot be used.
    """
    folders = read_entries(config).folders
    return {
        entry.name: _select_versions(entry, folders[entry.name].path)
        for entry in _parse(read_text(config), config).model_config_list.config
    }


def _select_versions(entry: model_server_config_pb2.ModelConfig, folder: Path) -> list[Path]:
    """Return the versions in a model's folder that its policy selects; by default the newest one."""
    policy = entry.model_version_policy
    entries = folder.iterdir() if folder.is_dir() else ()
    versions = {number: path for path in entries if (number := version_number(path.name)) is not None}
    numbers = sorted(versions, reverse=True)
    match policy.WhichOneof("policy_choice"):
        case "all":
            selected = numbers
        case "specific":
            selected = [number for number in numbers if number in policy.specific.versions]
        case _:
            selected = numbers[: policy.latest.num_versions or 1]
    return [versions[number] for number in selected]


def display_path(path: Path) -> str:
    """Return a path relative to the folder where the user is if it is inside."""
    here = invocation.folder()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def find_sample(*folders: Path) -> Path | None:
    """Return a golden image of the first folder that has one, or else a photo; None if there is none either.

    Args:
        folders: Folders of versions or of models.
    """
    for folder in folders:
        for parent in ("", "*/"):
            if images := list_golden_images(folder, parent):
                return images[0]
    return min(EXAMPLES.glob("*.jpg"), default=None)


def list_golden_images(folder: Path, parent: str = "") -> list[Path]:
    """Return the golden images below a folder, in order.

    Args:
        folder: Folder of a version, or of a model.
        parent: Pattern of the versions in it: `*/` for all versions of a model.
    """
    return sorted(path for path in folder.glob(f"{parent}{GOLDEN}") if path.name != GOLDEN_INDEX)


def read_text(config: Path) -> str:
    """Return the text of a file, with its line ends as they are.

    Raises:
        ModelsConfigError: It cannot be read or is not UTF-8.
    """
    try:
        text = config.read_bytes().decode("utf-8")
    except OSError as error:
        raise ModelsConfigError(f"{config} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ModelsConfigError(f"{config} is not UTF-8 text. Save it as UTF-8.") from error
    if text.startswith("\N{BYTE ORDER MARK}"):
        raise ModelsConfigError(f"{config} starts with a byte order mark. Save it as UTF-8 without one.")
    return text


def find_faults(entries: ModelEntries) -> Mapping[str, str]:
    """Return what keeps a model from being served, by the model's name, for each whose folder has a fault."""
    faults = {name: _describe_entry(name, folder) for name, folder in entries.folders.items()}
    return {name: fault for name, fault in faults.items() if fault}


def _describe_entry(name: str, folder: ModelFolder) -> str | None:
    if not name:
        return f"Its base_path is {folder.base_path or 'missing, too'}. Name the model in models.config."
    if folder.is_local:
        return folder.describe_fault()
    return f"{folder.base_path} is on another file system; only local folders are read here. Copy the model to one."


@dataclass(slots=True)
class Reported:
    """The fault of one thing.

    Attributes:
        found: The fault that the last check found; empty for none.
        reported: The fault that was reported last; empty if it is over.
    """

    found: str = ""
    reported: str = ""

    def is_new(self, fault: str) -> bool:
        """Note the fault that a check has found, and return whether it is to be reported."""
        is_new = fault == self.found and fault != self.reported
        self.found = fault
        self.reported = fault if is_new else self.reported
        return is_new

    def is_over(self) -> bool:
        """Note that a check has found no fault, and return whether that is to be reported."""
        was_reported = bool(self.reported)
        self.found = self.reported = ""
        return was_reported


class FaultWatch:
    """Reports when a model can no longer be served and when it can again; and the same of the configuration.

    A fault counts once two checks in a row find it: a model that is being copied is incomplete for a moment.

    Args:
        config: The file that lists the models.
        find_failed: Returns what else keeps models of these names from being served, by their names. A fault of a
            model's folder takes precedence.
    """

    def __init__(
        self, config: Path, find_failed: Callable[[Iterable[str]], Mapping[str, str]] = lambda _names: {}
    ) -> None:
        self._config = config
        self._find_failed = find_failed
        self._config_fault = Reported()
        self._model_faults: dict[str, Reported] = {}

    def start(self) -> list[str]:
        """Check the folders for the first time, and return a line for each model whose folder has a fault.

        Raises:
            ModelsConfigError: The configuration cannot be used.
        """
        faults = find_faults(read_entries(self._config))
        self._model_faults = {name: Reported(fault, fault) for name, fault in faults.items()}
        return [describe_fault(name, fault) for name, fault in faults.items()]

    def skip(self, names: Iterable[str]) -> None:
        """Do not report the faults that these models have now: they have been reported otherwise."""
        faults = self._find_failed(names)
        self._model_faults |= {name: Reported(fault, fault) for name, fault in faults.items()}

    def check(self) -> list[str]:
        """Check again, and return a line for each change."""
        try:
            entries = read_entries(self._config)
        except ModelsConfigError as error:
            is_new = self._config_fault.is_new(str(error))
            return [f"{error} The models stay as they were."] if is_new else []
        lines = ["models.config: in order now"] if self._config_fault.is_over() else []
        faults = {**self._find_failed(entries), **find_faults(entries)}
        for name in {**self._model_faults, **faults}:
            reported = self._model_faults.setdefault(name, Reported())
            if name in faults and name in entries:
                lines += [describe_fault(name, faults[name])] if reported.is_new(faults[name]) else []
            elif reported.is_over():
                lines.append(f"{name}: {'in order now' if name in entries else 'no longer listed'}")
        return lines


def describe_fault(name: str, fault: str) -> str:
    """Return a line about a model that cannot be served."""
    return f"{name or 'A model without a name'} cannot be served: {fault}"


def add_entry(config: Path, name: str, base_path: str) -> None:
    """Add a model to the end of a file, which is created if it does not exist; everything else in it stays as it is.

    Raises:
        ModelsConfigError: The file cannot be read or written, is malformed, or cannot be extended.
    """
    text = read_text(config) if config.exists() else ""
    entry = model_server_config_pb2.ModelConfig(name=name, base_path=base_path, model_platform="tensorflow")
    expected = _parse(text, config)
    extended = insert_entry(text, entry)
    expected.model_config_list.config.append(entry)
    try:
        is_extended = _parse(extended, config) == expected
    except ModelsConfigError:
        is_extended = False
    if not is_extended:
        raise ModelsConfigError(
            f"{config} cannot be extended. Add this entry to it yourself: config {{ {_one_line(entry)} }}"
        )
    _replace(config.resolve(), extended)


def insert_entry(text: str, entry: model_server_config_pb2.ModelConfig) -> str:
    """Return the text with an entry before the bracket that closes the list of models, which is added if missing."""
    closing = max(_closing_brackets(text), default=None)
    if closing is None:
        return insert_entry(f"{text}\n{EMPTY}".lstrip("\n"), entry)
    newline = "\r\n" if "\r\n" in text else "\n"
    line_start = text.rfind("\n", 0, closing) + 1
    if text[line_start:closing].strip():  # something stands before the bracket on its line
        return f"{text[:closing].rstrip(' ')} config {{ {_one_line(entry)} }} {text[closing:]}"
    fields = text_format.MessageToString(entry, as_utf8=True).splitlines()
    lines = ["  config {", *(f"    {field}" for field in fields), "  }", ""]
    return text[:line_start] + newline.join(lines) + text[line_start:]


def _closing_brackets(text: str) -> Iterator[int]:
    """Yield the position of each bracket that closes a message at the top level."""
    depth = 0
    for token in TOKEN.finditer(text):
        depth += (token[0] in OPENING) - (token[0] in CLOSING)
        if token[0] in CLOSING and not depth:
            yield token.start()


def _parse(text: str, config: Path) -> model_server_config_pb2.ModelServerConfig:
    try:
        return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    except text_format.ParseError as error:
        raise ModelsConfigError(f"{config} is not a model server configuration: {str(error).rstrip('.')}.") from error


def _one_line(entry: model_server_config_pb2.ModelConfig) -> str:
    return text_format.MessageToString(entry, as_utf8=True, as_one_line=True)


def _replace(config: Path, text: str) -> None:
    """Replace a file in one step, so that neither server reads half of it."""
    try:
        with tempfile.NamedTemporaryFile("wb", dir=config.parent, prefix=f".{config.name}.", delete=False) as file:
            file.write(text.encode())
        if config.exists():
            shutil.copymode(config, file.name)
        else:
            Path(file.name).chmod(0o644)
        Path(file.name).replace(config)
    except OSError as error:
        raise ModelsConfigError(f"{config} cannot be written: {error.strerror}.") from error
