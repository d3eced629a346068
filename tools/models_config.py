"""Read, check and extend a `models.config` file: the models that the model server serves."""

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from google.protobuf import text_format

from gateway.models.configured import ModelEntries, ModelsConfigError, parse_entries
from gateway.models.folders import ModelFolder
from tfs_api.protos import model_server_config_pb2

EMPTY = "model_config_list {\n}\n"
TOKEN = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{}<>]""")
"""Comments, strings and brackets of protobuf's text format."""
OPENING, CLOSING = ("{", "<"), ("}", ">")


def read_entries(config: Path) -> ModelEntries:
    """Return the models of a file, with their folders.

    Raises:
        ModelsConfigError: It cannot be read, is malformed, lists no models, or makes the model server end: an entry
            without a platform, two with one name.
    """
    text = read_text(config)
    entries = parse_entries(text, config)
    names: set[str] = set()
    for entry in _parse(text, config).model_config_list.config:
        if entry.name in names:
            raise ModelsConfigError(f"{config} has two entries with the name {entry.name}. Rename or remove one.")
        if not entry.model_platform:
            raise ModelsConfigError(f'{config}: the entry {entry.name} lacks model_platform: "tensorflow". Add it.')
        names.add(entry.name)
    return entries


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
    faults = {name: _describe_uri(folder) or folder.describe_fault() for name, folder in entries.folders.items()}
    return {name: fault for name, fault in faults.items() if fault}


def _describe_uri(folder: ModelFolder) -> str | None:
    if "://" not in folder.base_path:
        return None
    return f"{folder.base_path} is a URI; the model server of this machine reads folders only. Copy the model here."


class FaultWatch:
    """Reports when the folder of a model gets a fault and when it loses it.

    A fault counts once two checks in a row find it: a model that is being copied is incomplete for a moment.

    Args:
        config: The file that lists the models.
    """

    def __init__(self, config: Path) -> None:
        self._config = config
        self._found: Mapping[str, str] = {}
        self._reported: dict[str, str] = {}

    def start(self) -> list[str]:
        """Check for the first time, and return a line for each model whose folder has a fault.

        Raises:
            ModelsConfigError: The configuration cannot be used.
        """
        self._found = self._reported = dict(find_faults(read_entries(self._config)))
        return [describe_fault(name, fault) for name, fault in self._reported.items()]

    def check(self) -> list[str]:
        """Check again, and return a line for each change."""
        before, self._found = self._found, self._find()
        lines = []
        for name, fault in self._found.items():
            if before.get(name) == fault != self._reported.get(name):
                self._reported[name] = fault
                lines.append(describe_fault(name, fault))
        for name in self._reported.keys() - self._found.keys():
            del self._reported[name]
            lines.append(f"{name or self._config.name}: in order now")
        return lines

    def _find(self) -> Mapping[str, str]:
        try:
            return find_faults(read_entries(self._config))
        except ModelsConfigError as error:
            return {"": f"{error} The models stay as they were."}


def describe_fault(name: str, fault: str) -> str:
    """Return a line about a model that cannot be served, or about the configuration if there is no name."""
    return f"{name} cannot be served: {fault}" if name else fault


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
