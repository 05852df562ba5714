"""What an agent answers to a context -> one StableHLO program for CPU, GPU and TPU. Reads no runs, writes no files.

A program is `(arrays, key, context) -> answer`: arrays by name, the two words of a threefry key, and the fields of a
Context by name. Its arrays are arguments, never constants, and only those that the answer depends on.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, SupportsInt, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.errors import InconclusiveDimensionOperation
from jaxtyping import Array, Key, PyTree, Shaped, UInt32

from jaxbandit.types import Agent, Catalogue, Context

PLATFORMS = ("cpu", "cuda", "tpu")
MOST = (4096, 512, 64)  # users of one call; the first for which the agent's code can be traced is taken
# What code raises where it needs the number of users as an int and tracing has a symbol for it: JAX cannot compare or
# divide the symbol, Python and NumPy accept no symbol as an int, JAX lacks the operation for an unknown size.
NEEDS_NUMBER = (InconclusiveDimensionOperation, TypeError, NotImplementedError)

Leaf: TypeAlias = jax.ShapeDtypeStruct | Array | np.ndarray | np.generic  # an array, or its shape
Shapes: TypeAlias = dict[str, jax.ShapeDtypeStruct]
Answer: TypeAlias = Callable[[Agent, Key[Array, ""], PyTree[Array], Context], Shaped[Array, "B ..."]]
Lowerable: TypeAlias = Callable[[dict[str, Array], UInt32[Array, "2"], dict[str, Array]], Shaped[Array, "B ..."]]


class Program(NamedTuple):
    """A program, and what it is called with."""

    exported: export.Exported
    arrays: tuple[str, ...]  # names of those that it reads
    least: int  # users of a call; fewer are filled up
    most: int


def named(tree: PyTree[Leaf]) -> dict[str, Leaf]:
    """Name the leaves of a tree by their paths: state.moment, settings.alpha, catalogue.features."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def lower(factory: Callable[..., Agent], answer: Answer, tree: Mapping[str, PyTree[Leaf]], seen: Context) -> Program:
    """Lower what the agents of a factory answer, for any number of users where their code allows it.

    `tree` holds the arrays, or their shapes: state, settings (the traced hyperparameters), and the fields of a
    catalogue where there is one. `seen` has the shapes of a context of the run. The program takes as many users as the
    run had in any case: choices that the agent's code makes by that number are made as in the run. An error of the
    agent's code is raised as it is, unless it may come from a number of users that is not fixed.
    """
    batch, key = seen.user.shape[0], jax.ShapeDtypeStruct((2,), jnp.uint32)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), dict(tree))
    program, arrays, fields = jax.jit(_program(factory, answer, shapes)), named(shapes), _fields(seen, batch)
    with _without_source_lines():
        probe = export.export(program, platforms=PLATFORMS[:1])(arrays, key, fields)
        names = list(named((arrays, key, fields)))
        read = {names[i] for i in probe.module_kept_var_idx}
        arrays = {name: arrays[name] for name in sorted(arrays) if f"0.{name}" in read}
        taken = {name for name in fields if name != "user_id" or "2.user_id" in read}
        for least, most in _sizes(batch):
            context = {name: x for name, x in _fields(seen, _users(least, most)).items() if name in taken}
            try:
                exported = export.export(program, platforms=PLATFORMS)(arrays, key, context)
            except NEEDS_NUMBER:
                if least == most:
                    raise
                continue
            return Program(exported, tuple(arrays), least, most)
    raise AssertionError("the last number of users is a fixed one")


@contextmanager
def _without_source_lines() -> Iterator[None]:
    """Keep the paths of this machine out of programs."""
    name = "jax_traceback_in_locations_limit"
    old = jax.config.values[name]
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, old)


def _program(factory: Callable[..., Agent], answer: Answer, shapes: dict[str, PyTree[Leaf]]) -> Lowerable:
    """Make the function that is lowered; arrays that it is not given are zeros, since the answer ignores them."""
    wanted, structure = named(shapes), jax.tree.structure(shapes)

    def program(arrays: dict[str, Array], key: UInt32[Array, "2"], context: dict[str, Array]) -> Array:
        leaves = [arrays[n] if n in arrays else jnp.zeros(x.shape, x.dtype) for n, x in wanted.items()]
        parts = jax.tree.unflatten(structure, leaves)
        items = Catalogue(**parts["catalogue"]) if "catalogue" in parts else None
        shown = {"user_id": jnp.zeros(context["user"].shape[:1], jnp.int32), **context}
        typed = jax.random.wrap_key_data(key, impl="threefry2x32")
        return answer(factory(**parts["settings"]), typed, parts["state"], Context(**shown, catalogue=items))

    return program


def _fields(seen: Context, users: SupportsInt) -> Shapes:
    """Shapes of the fields that a context like `seen` has, for a number of users or the symbol of one."""
    shown = seen._replace(catalogue=None, truth=None)._asdict()
    return {n: jax.ShapeDtypeStruct((users, *x.shape[1:]), x.dtype) for n, x in shown.items() if x is not None}


def _sizes(batch: int) -> Iterator[tuple[int, int]]:
    """Ranges of the number of users to try, each with that of the run in it; the last one is that alone."""
    for most in (*(most for most in MOST if most > batch), batch):
        yield 1, most
        if batch > 1:
            yield batch, most


def _users(least: int, most: int) -> SupportsInt:
    """Return the number of users, or a symbol within bounds where it is not fixed."""
    if least == most:
        return least
    (symbol,) = export.symbolic_shape("b", constraints=[f"b >= {least}", f"b <= {most}"])
    return symbol
