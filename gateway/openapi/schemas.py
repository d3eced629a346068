"""JSON Schemas of what the API answers, from the types that the code itself goes by.

Descriptions are those of the types' docstrings, members' from their `Attributes` sections.
"""

import inspect
import re
from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from vision.card import SCHEMA

Schema = dict[str, Any]

COMPONENT = "#/components/schemas/{model}"
ATTRIBUTE = re.compile(r"^    (\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


class _FromDocstrings(GenerateJsonSchema):
    """Takes descriptions from docstrings, and makes up no titles."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # pydantic's hook
        """Say no."""
        return False

    def field_is_required(self, field: Any, total: bool) -> bool:  # noqa: FBT001  # pydantic's hook
        """Count on every member of a dataclass: one that is written as JSON has them all."""
        return field["type"] == "dataclass-field" or super().field_is_required(field, total)

    def typed_dict_schema(self, schema: Any) -> Schema:
        """Write the schema of a dictionary."""
        return _described(super().typed_dict_schema(schema), schema["cls"])

    def dataclass_schema(self, schema: Any) -> Schema:
        """Write the schema of a dataclass."""
        return _described(super().dataclass_schema(schema), schema["cls"])


def reference(kind: type) -> Schema:
    """Point to the schema of a type."""
    return {"$ref": COMPONENT.format(model=kind.__name__)}


def component_schemas(kinds: Iterable[type]) -> dict[str, Schema]:
    """Write the schemas of some types and of all that they are made of, by name."""
    adapters: list[Any] = [(kind, "serialization", TypeAdapter(kind)) for kind in kinds]
    _, written = TypeAdapter.json_schemas(adapters, ref_template=COMPONENT, schema_generator=_FromDocstrings)
    schemas: dict[str, Schema] = written["$defs"]
    card = schemas["Card"]  # `Card.to_json` writes the number of this schema before the fields
    card["properties"] = {"schema": {"const": SCHEMA, "description": "Version of this schema."}, **card["properties"]}
    card["required"].append("schema")
    return schemas


def _described(schema: Schema, kind: type) -> Schema:
    if kind.__doc__:  # a dictionary that is made by a call has none
        schema["description"] = _plain(inspect.cleandoc(kind.__doc__).partition("\n\nAttributes:")[0])
    told = _attributes(kind)
    for name, member in schema["properties"].items():
        if name in told:
            member["description"] = told[name]
    return schema


def _attributes(kind: type) -> dict[str, str]:
    """Read what docstrings tell of each member, the bases' too, which TypedDict keeps apart from `__mro__`."""
    told: dict[str, str] = {}
    for base in getattr(kind, "__orig_bases__", kind.__bases__):
        if isinstance(base, type):
            told |= _attributes(base)
    section = inspect.cleandoc(kind.__doc__ or "").partition("\n\nAttributes:\n")[2]
    return told | {name: _plain(text) for name, text in ATTRIBUTE.findall(section)}


def _plain(text: str) -> str:
    """Join lines, and turn reStructuredText's code marks into Markdown's."""
    return " ".join(text.split()).replace("``", "`")
