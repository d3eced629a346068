import pytest

from tfs_api.base_paths import local_folder


@pytest.mark.parametrize(
    ("base_path", "folder"),
    [
        ("/models/m", "/models/m"),
        ("models/m", "models/m"),
        ("file:///models/m", "/models/m"),
        ("file://localhost/models/m", "/models/m"),
        ("file://", "/"),
        ("models/a://b", "models/a:/b"),
    ],
)
def test_a_path_and_its_uri_name_a_folder(base_path, folder):
    assert str(local_folder(base_path)) == folder


@pytest.mark.parametrize("base_path", ["s3://b/m", "gs://b/m", "hdfs://b"])
def test_a_uri_of_another_file_system_names_none(base_path):
    assert local_folder(base_path) is None
