"""JSON Schemas of responses, generated from the types that the views return.

Descriptions come from the docstrings of these types, those of members from the `Attributes` sections.
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
NONE = re.compile(r"\bNone\b")
ATTRIBUTE = re.compile(r"^    (\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


class _FromDocstrings(GenerateJsonSchema):
    """Adds descriptions from docstrings, and no invented titles."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # pydantic's hook
        """Return False: pydantic derives titles from names, which adds nothing."""
        return False

    def default_schema(self, schema: Any) -> Schema:
        """Leave defaults out: a response always has the member, and clients would invent values for missing ones."""
        return self.generate_inner(schema["schema"])

    def nullable_schema(self, schema: Any) -> Schema:
        """Return the type of a number or a string that may be null, which more tools understand than `anyOf`."""
        inner = self.generate_inner(schema["schema"])
        return inner | {"type": [inner["type"], "null"]}

    def literal_schema(self, schema: Any) -> Schema:
        """Return an enumeration, also of one value."""
        return {"type": "string", "enum": schema["expected"]}

    def union_schema(self, schema: Any) -> Schema:
        """Return alternatives of which exactly one fits, or any value if one of them has no name.

        Several generators merge the alternatives of `anyOf`, or write code that does not compile for those without a
        name, such as a number or an array.
        """
        choices = [self.generate_inner(choice) for choice in schema["choices"]]
        return {"oneOf": choices} if all("$ref" in choice for choice in choices) else {}

    def tuple_schema(self, schema: Any) -> Schema:
        """Return an array whose items all have the same type, as in all tuples here."""
        inner = self.generate_inner(schema["items_schema"][0])
        is_fixed = schema.get("variadic_item_index") is None
        length = len(schema["items_schema"])
        return {"type": "array", "items": inner} | ({"minItems": length, "maxItems": length} if is_fixed else {})

    def field_is_required(self, field: Any, total: bool) -> bool:  # noqa: FBT001  # pydantic's hook
        """Require every member of a dataclass: its JSON always has all of them."""
        return field["type"] == "dataclass-field" or super().field_is_required(field, total)

    def typed_dict_schema(self, schema: Any) -> Schema:
        """Return the schema of a dictionary."""
        return _describe(super().typed_dict_schema(schema), schema["cls"])

    def dataclass_schema(self, schema: Any) -> Schema:
        """Return the schema of a dataclass."""
        return _describe(super().dataclass_schema(schema), schema["cls"])


def reference(type_: Any) -> Schema:
    """Return a reference to the schema of a type."""
    return {"$ref": COMPONENT.format(model=type_.__name__)}


def component_schemas(types: Iterable[Any]) -> dict[str, Schema]:
    """Return the schemas of these types and of all types that they contain, by name."""
    adapters: list[Any] = [(type_, "serialization", TypeAdapter(type_)) for type_ in types]
    _, definitions = TypeAdapter.json_schemas(adapters, ref_template=COMPONENT, schema_generator=_FromDocstrings)
    schemas: dict[str, Schema] = definitions["$defs"]
    card = schemas["Card"]  # `Card.to_document` puts the schema version before the fields
    card["properties"] = {
        "schema": {"type": "integer", "enum": [SCHEMA], "description": "Version of this schema."},
        **card["properties"],
    }
    card["required"].append("schema")
    return schemas


def _describe(schema: Schema, type_: type) -> Schema:
    del schema["title"]  # the same as its name
    if type_.__doc__:  # a TypedDict created by a call has no docstring
        schema["description"] = _plain(inspect.cleandoc(type_.__doc__).partition("\n\nAttributes:")[0])
    descriptions = _attribute_descriptions(type_)
    for name, member in schema["properties"].items():
        if name in descriptions:
            member["description"] = descriptions[name]
    return schema


def _attribute_descriptions(type_: type) -> dict[str, str]:
    """Return the description of each member; TypedDict does not list its bases in `__mro__`."""
    descriptions: dict[str, str] = {}
    for base in getattr(type_, "__orig_bases__", type_.__bases__):
        if isinstance(base, type):
            descriptions |= _attribute_descriptions(base)
    section = inspect.cleandoc(type_.__doc__ or "").partition("\n\nAttributes:\n")[2]
    return descriptions | {name: _plain(text) for name, text in ATTRIBUTE.findall(section)}


def _plain(text: str) -> str:
    """Join lines, and convert code marks from reStructuredText to Markdown, and None to what JSON has."""
    return NONE.sub("null", " ".join(text.split()).replace("``", "`"))
