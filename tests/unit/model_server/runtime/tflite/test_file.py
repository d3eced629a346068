import pytest

from model_server.errors import DataLossError
from model_server.runtime.tflite.file import TfliteFile
from tests.support.tflite_files import doubling_model


def test_an_entry_of_the_metadata_is_found_by_its_name():
    file = TfliteFile(doubling_model(table=b"content"))

    assert file.metadata("signature_defs_metadata") == b"content"
    assert file.metadata("another") is None


def test_a_file_without_metadata_has_no_entry():
    assert TfliteFile(doubling_model()).metadata("signature_defs_metadata") is None


def test_an_entry_without_its_buffer_is_refused():
    damaged = doubling_model(table=b"content", table_buffer=9)

    with pytest.raises(DataLossError, match="refers to a buffer that does not exist"):
        TfliteFile(damaged).metadata("signature_defs_metadata")


def test_activations_are_all_tensors_but_constants():
    x_and_y, n_and_m = 2 * 2 * 4, 2 * 3 * 4

    assert TfliteFile(doubling_model(second_shape=(3,))).activation_bytes() == x_and_y + n_and_m
