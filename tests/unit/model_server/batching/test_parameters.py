import pytest

from model_server.batching.parameters import BatchingParameters, read_parameters
from model_server.errors import InvalidArgumentError, NotFoundError


@pytest.fixture
def read(tmp_path):
    def read(text):
        file = tmp_path / "batching.config"
        file.write_text(text)
        return read_parameters(file)

    return read


def test_an_empty_file_gives_the_defaults(read):
    assert read("") == BatchingParameters()
    assert read("# nothing\n").max_batch_size == 1000


def test_all_fields_are_read(read):
    text = """
        max_batch_size { value: 8 }  # rows
        batch_timeout_micros: { value: 500 }
        max_enqueued_batches < value: 3 >
        num_batch_threads { value: 7 }
        thread_pool_name { value: "pool" }
        allowed_batch_sizes: 4 allowed_batch_sizes: 8
        pad_variable_length_inputs: true
        enable_large_batch_splitting { value: true }
        max_execution_batch_size { value: 4 }
    """
    assert read(text) == BatchingParameters(
        max_batch_size=8,
        batch_timeout_micros=500,
        max_enqueued_batches=3,
        num_batch_threads=7,
        allowed_batch_sizes=(4, 8),
        pad_variable_length_inputs=True,
        enable_large_batch_splitting=True,
        max_execution_batch_size=4,
    )


def test_a_field_without_a_value_is_0(read):
    assert read("batch_timeout_micros {} num_batch_threads {}").num_batch_threads == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size: 4", r"batching\.config': 1:17 .*Expected \"{\""),
        ("nope { value: 1 }", "has no field named"),
        ("max_batch_size { value: 4 } max_batch_size { value: 5 }", "should not have multiple"),
        ("max_batch_size { value: 9223372036854775808 }", "out of range"),
        ("max_batch_size { value: 4 ", "Expected"),
    ],
)
def test_invalid_text_is_refused(read, text, message):
    with pytest.raises(InvalidArgumentError, match=f"Invalid protobuf file: '.*{message}"):
        read(text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"missing; No such file or directory"):
        read_parameters(tmp_path / "missing")


@pytest.mark.parametrize(
    "parameters",
    [
        BatchingParameters(),
        BatchingParameters(max_enqueued_batches=0),
        BatchingParameters(max_batch_size=4, allowed_batch_sizes=(3, 2, 4)),
        BatchingParameters(max_batch_size=8, max_execution_batch_size=4, enable_large_batch_splitting=True),
        BatchingParameters(max_batch_size=8, max_execution_batch_size=16),
    ],
)
def test_valid_parameters_are_accepted(parameters):
    parameters.check()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"max_batch_size": 4, "allowed_batch_sizes": (2, 3)},
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 3; expected 4",
        ),
        ({"allowed_batch_sizes": (8,)}, "last entry was 8; expected 1000"),
        ({"max_batch_size": 0}, "max_batch_size must be positive; was 0"),
        ({"max_batch_size": -1}, "max_batch_size must be positive; was -1"),
        ({"batch_timeout_micros": -1}, "batch_timeout_micros must be non-negative; was -1"),
        (
            {"max_enqueued_batches": 0, "enable_large_batch_splitting": True},
            "max_enqueued_batches must be positive; was 0",
        ),
        (
            {"max_execution_batch_size": 0, "enable_large_batch_splitting": True},
            "max_execution_batch_size must be positive; was 0",
        ),
        (
            {"max_batch_size": 4, "max_execution_batch_size": 8, "enable_large_batch_splitting": True},
            "they are 4 and 8",
        ),
    ],
)
def test_invalid_parameters_are_refused(values, message):
    with pytest.raises(InvalidArgumentError, match=message):
        BatchingParameters(**values).check()


def test_rows_per_batch_depend_on_splitting():
    assert BatchingParameters(max_batch_size=8, max_execution_batch_size=4).rows_per_batch == 8
    split = BatchingParameters(max_batch_size=8, max_execution_batch_size=4, enable_large_batch_splitting=True)
    assert split.rows_per_batch == 4
    assert BatchingParameters(max_batch_size=8, enable_large_batch_splitting=True).rows_per_batch == 8


def test_a_batch_is_padded_to_the_first_sufficient_size():
    parameters = BatchingParameters(max_batch_size=8, allowed_batch_sizes=(2, 4, 8))
    assert [parameters.padded_size(rows) for rows in (1, 2, 3, 4, 5, 8)] == [2, 2, 4, 4, 8, 8]
    assert BatchingParameters(max_batch_size=4, allowed_batch_sizes=(3, 2, 4)).padded_size(2) == 3
    assert BatchingParameters().padded_size(5) == 5
