"""A server for each test, and a client of its JobService."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.cloud import aiplatform_v1 as v1

from ..vertex_server import VertexServer
from .asking import options


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VertexServer]:
    with VertexServer(tmp_path, {"bucket": "US-CENTRAL1", "wide": "US"}, grace=2) as server:
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def client(server: VertexServer) -> Iterator[v1.JobServiceClient]:
    with v1.JobServiceClient(client_options=options(server)) as client:
        yield client
