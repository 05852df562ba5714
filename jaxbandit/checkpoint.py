"""Save and restore the state of a run between two chunks, with orbax. It decides neither when nor what."""

from typing import Any

import jax
import numpy as np
from etils import epath

from jaxbandit.errors import InputError

KEEP = 2


class Checkpoints:
    """The checkpoints of one run directory, numbered by rounds done; each is complete or absent."""

    def __init__(self, directory: epath.PathLike) -> None:
        """Name the directory; it is made at the first save."""
        self.directory = epath.Path(directory)

    def save(self, rounds: int, state: Any) -> None:
        """Write `state`, a pytree of arrays, and drop all but the last two checkpoints.

        Raises:
            InputError: the directory cannot be written (no space, no permission).
        """
        import orbax.checkpoint as ocp

        try:
            with ocp.PyTreeCheckpointer() as checkpointer:
                checkpointer.save(self._path(rounds), jax.tree.map(np.asarray, state), force=True)
            for old in self.rounds()[:-KEEP]:
                self._path(old).rmtree()
        except OSError as error:
            raise InputError(f"cannot write the checkpoint {self._path(rounds)}: {error.strerror or error}") from None

    def restore(self, rounds: int, like: Any) -> Any:
        """Read the checkpoint back into the structure, shapes and types of `like`.

        Raises:
            InputError: the checkpoint is damaged or of another program.
        """
        import orbax.checkpoint as ocp

        template = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
        path = self._path(rounds)
        try:
            with ocp.PyTreeCheckpointer() as checkpointer:
                state = checkpointer.restore(path, item=template)
        except Exception as error:
            reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
            raise InputError(
                f"checkpoint {path} is damaged or incomplete ({reason}); delete it to go on from an older one"
            ) from None
        wrong = jax.tree.leaves(jax.tree.map(lambda a, b: a.shape != b.shape or a.dtype != b.dtype, template, state))
        if any(wrong):
            raise InputError(f"checkpoint {path} belongs to another program; delete it or choose another --out")
        return state

    def rounds(self) -> list[int]:
        """Rounds done at each complete checkpoint, ascending."""
        if not self.directory.exists():
            return []
        return sorted(int(path.name) for path in self.directory.iterdir() if path.name.isdigit())

    def _path(self, rounds: int) -> epath.Path:
        return epath.Path(self.directory).resolve() / f"{rounds:012d}"
