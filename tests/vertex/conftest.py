"""What stands for Vertex AI and its buckets, and a directory from which somebody launches there."""

import pytest

from tests.vertex.bucket import Bucket


@pytest.fixture(scope="session")
def server(cache_directory, tmp_path_factory):
    pytest.importorskip("google.cloud.aiplatform_v1")
    from tests.vertex.laptop import BUCKETS
    from tests.vertex_server import VertexServer

    with VertexServer(tmp_path_factory.mktemp("vertex"), BUCKETS) as server:
        yield server


@pytest.fixture
def laptop(server, tmp_path):
    from tests.vertex.laptop import Laptop

    return Laptop(server, tmp_path)


@pytest.fixture
def bucket(tmp_path) -> Bucket:
    return Bucket(tmp_path)


@pytest.fixture
def job(bucket, monkeypatch) -> Bucket:
    """The same, for command lines within this process, on whose other tests nothing of it may be left."""
    for name, value in bucket.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "mine")
    return bucket
