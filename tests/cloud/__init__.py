"""The services that `VertexServer` speaks for: jobs, storage, logs, TensorBoards, metadata."""
