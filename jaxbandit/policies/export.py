"""A run -> a policy that another process acts with: its programs, arrays and files. It reads no policy: `load` does."""

import io
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from importlib import metadata

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxbandit._core import sealed
from jaxbandit._core.errors import InputError
from jaxbandit._core.files import mounted, write_bytes
from jaxbandit.experiments import interaction_log, run_directory
from jaxbandit.experiments.config import Config, read_config, read_object
from jaxbandit.experiments.console import phase
from jaxbandit.experiments.world import build
from jaxbandit.policies import header, stablehlo, trained
from jaxbandit.policies.header import ACTIONS, ARRAYS, HEADER, PROBABILITIES, About, Header, Item, Origin
from jaxbandit.policies.stablehlo import Program
from jaxbandit.simulation import lanes, recording
from jaxbandit.types import Agent, Context, pair_products

DIRECTORY = "policy"
FILES = {ARRAYS, ACTIONS, PROBABILITIES}
WORDS = {
    "user": "features of each user",
    "user_id": "which user it is",
    "arms": "features of the arms offered to each user",
    "arm_id": "rows of the catalogue that are offered to each user",
    "mask": "false at arms that may not be taken",
    "state": "what the agent has learned",
    "settings": "a hyperparameter",
    "catalogue": "features of all items, or the products v_i v_j of their features, i <= j, those of i < j doubled",
}


def export(run: str, out: str | None = None, *, seed: int = 0, checkpoints: str | None = None) -> Header:
    """Write the agent of one seed of a run, as its last checkpoint has it; return the content of policy.json.

    It goes to `out`, or to the directory `policy` of the run. Nothing is written where this policy is there already. A
    run that has not finished is exported as it is now. `checkpoints` is the directory of its checkpoints where they are
    not in the run's own.

    Raises:
        InputError: no run there, a sweep, no checkpoint, no such seed, an agent that sees mean rewards, or an `out`
            that is a file or holds anything else.
    """
    run = mounted(run)
    config = _config_of(run)
    place = epath.Path(mounted(out)) if out else epath.Path(run) / DIRECTORY
    if not 0 <= seed < config.seeds:
        raise InputError(f"policy_seed is {seed}; allowed: 0 to {config.seeds - 1}, the seeds of {run!r}")
    rounds = trained.last_round(run, checkpoints)
    if not 0 < rounds <= config.rounds:
        raise InputError(f"run is {run!r}, which has no checkpoint of all seeds; allowed: a run with one")
    origin: Origin = {"config": json.loads(json.dumps(asdict(config))), "seed": seed, "rounds": rounds}
    if (kept := _exported_before(place, origin)) is not None:
        return kept
    with phase(f"building {config.env}"):
        simulation = build(config)
        acting = build(replace(config, delay=0), made=(simulation.environment, simulation.params))
        _refuse_privileged(config, acting)
        state = trained.trained_state(run, config, simulation, seed, checkpoints)
    with phase(f"exporting {config.agent}"):
        files, content = pack(acting, state, origin)
    write(place, files, content)
    return content


def pack(simulation: lanes.Simulation, state: PyTree[Array], origin: Origin) -> tuple[dict[str, bytes], Header]:
    """Make the files of a policy and the content of policy.json: `origin`, what the policy takes and answers."""
    spec, batch_size = simulation.environment.spec, simulation.batch_size
    mask = jax.eval_shape(lambda: jnp.ones((batch_size, spec.num_actions), bool))
    seen = recording.example(simulation.environment, simulation.params, batch_size)._replace(mask=mask)
    settings = {name: np.float32(values[0]) for name, values in simulation.grid.items()}
    tree = {"state": jax.tree.map(np.asarray, state), "settings": settings, **_catalogue(simulation, seen)}
    programs = {ACTIONS: stablehlo.lower(simulation.factory, _actions, tree, seen)}
    if simulation.example_agent.probabilities is not None:
        programs[PROBABILITIES] = stablehlo.lower(simulation.factory, _probabilities, tree, seen)
    leaves = stablehlo.named(tree)
    read = sorted({name for program in programs.values() for name in program.arrays})
    files = {name: bytes(program.exported.serialize(vjp_order=0)) for name, program in programs.items()}
    files[ARRAYS] = _npz({name: np.asarray(leaves[name]) for name in read})
    content: Header = {
        "format": header.FORMAT,
        "jaxbandit": _version(),
        "jax": jax.__version__,
        **origin,
        "spec": {**interaction_log.sizes(spec), "slate_size": spec.slate_size},
        "num_items": None if seen.catalogue is None else seen.catalogue.features.shape[0],
        "programs": {name: _about(name, program) for name, program in programs.items()},
        "files": {name: sealed.digest(data) for name, data in sorted(files.items())},
    }
    return files, content


def _actions(agent: Agent, key: Key[Array, ""], state: PyTree[Array], context: Context) -> Int[Array, "B *M"]:
    return agent.select(key, state, context).action


def _probabilities(agent: Agent, key: Key[Array, ""], state: PyTree[Array], context: Context) -> Float[Array, "B K"]:
    assert agent.probabilities is not None
    return agent.probabilities(state, context)


def _catalogue(simulation: lanes.Simulation, seen: Context) -> dict[str, dict[str, np.ndarray]]:
    """Arrays of the catalogue, where there is one."""
    if seen.catalogue is None:
        return {}
    items = recording.catalogue(simulation.environment, simulation.params)
    assert items is not None
    return {"catalogue": {"features": items, "pairs": pair_products(items)}}


def _about(name: str, program: Program) -> About:
    """Say how a program is called and what it answers."""
    exported = program.exported
    (arrays, key, context), _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
    (output,) = exported.out_avals
    key_words = "two words of a threefry key: 0 and the seed are those of jax.random.key(seed)"
    if name == ACTIONS:
        answer = _item("action", output, "arms taken, of those offered")
    else:
        answer = _item("probability", output, "probability of each arm offered")
    return {
        "call": "jax.export.deserialize(bytearray(FILE)).call(arrays, key, context)",
        "platforms": list(exported.platforms),
        "users": {"symbol": "b", "least": program.least, "most": program.most},
        "inputs": {
            "arrays": [_item(n, x, WORDS[n.partition(".")[0]]) for n, x in arrays.items()],
            "key": _item("key", key, key_words),
            "context": [_item(n, x, WORDS[n]) for n, x in context.items()],
        },
        "output": answer,
    }


def _item(name: str, value: jax.core.ShapedArray, words: str) -> Item:
    shape = [n if isinstance(n, int) else str(n) for n in value.shape]
    return {"name": name, "shape": shape, "dtype": str(value.dtype), "words": words}


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _version() -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version("jaxbandit")
    return None


def _config_of(run: str) -> Config:
    path = run_directory.config_file(run)
    if path is None:
        raise InputError(f"run is {run!r}, which holds no run; allowed: the --out of a run")
    if "base" in read_object(path, kept=True):
        raise InputError(
            f"run is {run!r}, a sweep, which keeps no agents; allowed: a run, as that of "
            f"jaxbandit run --config {epath.Path(run) / 'best.json'}"
        )
    return read_config(path, kept=True)


def _refuse_privileged(config: Config, simulation: lanes.Simulation) -> None:
    if simulation.example_agent.privileged:
        raise InputError(
            f"agent is {config.agent!r}, which sees mean rewards, but nobody knows them there; allowed: all others"
        )


def _exported_before(place: epath.Path, origin: Origin) -> Header | None:
    """Return the content of policy.json where this policy is there already and intact; None where it is to be written.

    Raises:
        InputError: there is something else.
    """
    name = str(place)
    if not place.exists():
        return None
    if not place.is_dir():
        raise InputError(f"out is {name!r}, a file; allowed: a directory, new or empty")
    names = {path.name for path in place.iterdir()}
    if HEADER not in names:
        others = {other for other in names - FILES if not (other.startswith(".") and other.endswith(".tmp"))}
        if others:
            raise InputError(f"out is {name!r}, which holds other files; allowed: a new or empty directory")
        return None  # an export that was killed has left its files
    there = header.read_header(place)
    kept = {"config": there["config"], "seed": there.get("seed"), "rounds": there.get("rounds")}
    for entry, value in origin.items():
        if kept[entry] != value:
            differs = f"{entry} {kept[entry]} and {value}" if entry != "config" else "another config"
            raise InputError(f"out is {name!r}, which holds another policy ({differs}); allowed: another directory")
    with suppress(InputError):
        header.intact(place, there)
        return there
    return None


def write(place: epath.Path, files: Mapping[str, bytes], content: Header) -> None:
    """Write the files one by one, policy.json last: without it they are no policy. Where one fails, none is left."""
    existed = place.exists()
    try:
        (place / HEADER).unlink(missing_ok=True)
        for name, data in files.items():
            write_bytes(place / name, data)
        sealed.write(place / HEADER, content)
    except BaseException:
        with suppress(OSError):
            for name in (HEADER, *files):
                (place / name).unlink(missing_ok=True)
            if not existed:
                place.rmdir()
        raise
