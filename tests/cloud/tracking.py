"""Vertex AI's TensorboardService and MetadataService, as far as managed TensorBoards and Experiments use them."""

import datetime
import itertools
from typing import Any

import grpc
from google.cloud import aiplatform_v1 as v1
from google.longrunning import operations_pb2
from google.protobuf import any_pb2

from . import filters
from .calls import Refusal, absent, full_name, invalid, page


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _done(name: str, result: Any) -> operations_pb2.Operation:
    """An operation that was over at once."""
    packed = any_pb2.Any()
    packed.Pack(type(result).pb(result))
    return operations_pb2.Operation(name=f"{name}/operations/1", done=True, response=packed)


class TensorboardService:
    """google.cloud.aiplatform.v1.TensorboardService."""

    def __init__(self, region: str):
        self.tensorboards: dict[str, v1.Tensorboard] = {}  # by name
        self._region, self._ids = region, itertools.count(8_000_000_000_000_000_001)

    def create_tensorboard(self, request: v1.CreateTensorboardRequest) -> operations_pb2.Operation:
        if not request.tensorboard.display_name:
            raise invalid("tensorboard.display_name is required.")
        board = v1.Tensorboard(request.tensorboard)
        board.name = f"{full_name(request.parent, self._region)}/tensorboards/{next(self._ids)}"
        board.create_time = board.update_time = _now()
        self.tensorboards[board.name] = board
        return _done(board.name, board)

    def get_tensorboard(self, request: v1.GetTensorboardRequest) -> v1.Tensorboard:
        name = full_name(request.name, self._region)
        if name not in self.tensorboards:
            raise absent(request.name)
        return self.tensorboards[name]

    def list_tensorboards(self, request: v1.ListTensorboardsRequest) -> v1.ListTensorboardsResponse:
        full_name(request.parent, self._region)
        terms = filters.parse(request.filter)
        boards = list(reversed(self.tensorboards.values()))
        found = [board for board in boards if filters.matches(terms, lambda path, board=board: _field(board, path))]
        boards, token = page(found, request.page_size, request.page_token)
        return v1.ListTensorboardsResponse(tensorboards=boards, next_page_token=token)


def _field(board: v1.Tensorboard, path: tuple[str, ...]) -> Any:
    """The value of a field that lists are filtered by."""
    if path == ("display_name",):
        return board.display_name
    if path[0] == "labels" and len(path) == 2:
        return board.labels.get(path[1])
    raise invalid(f"TensorBoards cannot be filtered by {'.'.join(path)}.")


class MetadataService:
    """google.cloud.aiplatform.v1.MetadataService."""

    def __init__(self, region: str):
        self.stores: dict[str, v1.MetadataStore] = {}
        self.contexts: dict[str, v1.Context] = {}  # by name
        self._region = region

    def get_metadata_store(self, request: v1.GetMetadataStoreRequest) -> v1.MetadataStore:
        return self._get(self.stores, request.name)

    def create_metadata_store(self, request: v1.CreateMetadataStoreRequest) -> operations_pb2.Operation:
        parent = full_name(request.parent, self._region)
        store = v1.MetadataStore(name=f"{parent}/metadataStores/{request.metadata_store_id}", create_time=_now())
        self.stores[store.name] = store
        return _done(store.name, store)

    def get_context(self, request: v1.GetContextRequest) -> v1.Context:
        return self._get(self.contexts, request.name)

    def create_context(self, request: v1.CreateContextRequest) -> v1.Context:
        name = f"{self._get(self.stores, request.parent).name}/contexts/{request.context_id}"
        if name in self.contexts:
            raise Refusal(grpc.StatusCode.ALREADY_EXISTS, f"Context {name} already exists.")
        context = v1.Context(request.context)
        context.name, context.create_time, context.update_time = name, _now(), _now()
        self.contexts[name] = context
        return context

    def update_context(self, request: v1.UpdateContextRequest) -> v1.Context:
        known = self._get(self.contexts, request.context.name)
        context = v1.Context(request.context)
        context.name, context.create_time, context.update_time = known.name, known.create_time, _now()
        context.parent_contexts = known.parent_contexts  # told by the service, never by a caller
        self.contexts[known.name] = context
        return context

    def add_context_children(self, request: v1.AddContextChildrenRequest) -> v1.AddContextChildrenResponse:
        parent = self._get(self.contexts, request.context)
        for name in request.child_contexts:
            child = self._get(self.contexts, name)
            if parent.name not in child.parent_contexts:
                child.parent_contexts.append(parent.name)
        return v1.AddContextChildrenResponse()

    def get_artifact(self, request: v1.GetArtifactRequest) -> v1.Artifact:
        return self._get({}, request.name)  # a run has one only where it writes to a TensorBoard itself

    def get_execution(self, request: v1.GetExecutionRequest) -> v1.Execution:
        return self._get({}, request.name)

    def _get(self, known: dict[str, Any], name: str) -> Any:
        if full_name(name, self._region) not in known:
            raise absent(name)
        return known[full_name(name, self._region)]
