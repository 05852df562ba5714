"""A server that stands for Vertex AI, and a directory from which somebody launches there."""

import pytest


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
