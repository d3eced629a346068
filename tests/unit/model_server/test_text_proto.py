import pytest

from model_server.errors import InvalidArgumentError, NotFoundError
from model_server.text_proto import BOOL, ENUM_NUMBER, INT64, STRING, Repeated, message_class, read_file

Outer = message_class("Outer", {"name": STRING, "inner": {"on": BOOL}, "state": ENUM_NUMBER})


def test_fields_are_numbered_in_their_order():
    assert Outer(name="a", state=2).SerializeToString() == b"\x0a\x01a\x18\x02"
    assert Outer.FromString(b"\x12\x02\x08\x01").inner.on


def test_a_file_is_read(tmp_path):
    file = tmp_path / "f"
    file.write_text('# comment\nname: "a" inner { on: true }')
    message = read_file(file, Outer())
    assert (message.name, message.inner.on, message.state) == ("a", True, 0)


def test_a_field_with_any_number_of_values(tmp_path):
    many = message_class("Many", {"sizes": Repeated(INT64)})
    file = tmp_path / "f"
    file.write_text("sizes: 3 sizes: [1, 2]")
    assert list(read_file(file, many()).sizes) == [3, 1, 2]


def test_there_is_no_file(tmp_path):
    with pytest.raises(NotFoundError, match=f"{tmp_path}/f; No such file or directory"):
        read_file(tmp_path / "f", Outer())


@pytest.mark.parametrize("content", [b'nome: "a"', b"name: 1", b"\xff\xfe", b'name: "a'])
def test_what_is_no_such_message(tmp_path, content):
    file = tmp_path / "f"
    file.write_bytes(content)
    with pytest.raises(InvalidArgumentError, match=f"Invalid protobuf file: '{file}': "):
        read_file(file, Outer())
