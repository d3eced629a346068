"""Small protobuf messages: made from a list of fields, read from files in text format.

The tensorflow-serving-api package leaves out the messages of some configuration files, and grpc.health.v1 is a package
of its own. What is needed of them is described here anew, each in a pool of its own: an installed package may bring
the real ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import Message

from model_server.errors import InvalidArgumentError, NotFoundError

_Field = descriptor_pb2.FieldDescriptorProto

BOOL = _Field.TYPE_BOOL
INT64 = _Field.TYPE_INT64
STRING = _Field.TYPE_STRING
ENUM_NUMBER = _Field.TYPE_INT32
"""An enumeration looks the same on the wire as the numbers of its values."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """The kind of a field with any number of values."""

    kind: int


Kind: TypeAlias = "int | Repeated | Mapping[str, Kind]"
"""A field's type, or for a message the types of its fields, by name."""

MessageT = TypeVar("MessageT", bound=Message)


def message_class(name: str, fields: Mapping[str, Kind]) -> Any:  # generated messages have no types
    """Make a message class.

    Args:
        name: name of the message.
        fields: types by name; the first has field number 1, and so on.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto")
    _describe(file.message_type.add(name=name), name, fields)
    pool: Any = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def _describe(message: Any, full_name: str, fields: Mapping[str, Kind]) -> None:  # generated messages have no types
    for number, (name, kind) in enumerate(fields.items(), start=1):
        field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
        if isinstance(kind, Repeated):
            field.label, field.type = _Field.LABEL_REPEATED, kind.kind
            continue
        if isinstance(kind, int):
            field.type = kind
            continue
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{full_name}.{name.title()}"
        _describe(message.nested_type.add(name=name.title()), f"{full_name}.{name.title()}", kind)


def read_file(file: Path, message: MessageT) -> MessageT:
    """Fill a message from a file in protobuf text format, and return it.

    Raises:
        NotFoundError: there is no such file.
        InvalidArgumentError: it does not hold such a message.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise NotFoundError(f"{file}; {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"Invalid protobuf file: '{file}': {error}") from error
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise InvalidArgumentError(f"Invalid protobuf file: '{file}': {error}") from error
