"""An exported policy, read back: arrays and programs that answer contexts. Needs no run, no ratings and no agents.

A policy is a directory: policy.json (what it is, and the digests of the others; it is written last), arrays.npz (what
the agent has learned, its settings, the catalogue), program.stablehlo (contexts -> actions) and, where the agent tells
them, probabilities.stablehlo. Both are read by `jax.export.deserialize` and called with (arrays, key, context).
"""

import hashlib
import io
import json
import math
import os
import zipfile
from typing import Any

import jax
import numpy as np
from etils import epath
from jax import export

from jaxbandit._core.errors import InputError
from jaxbandit._core.files import mounted
from jaxbandit.policies import contexts
from jaxbandit.types import Context, Spec

FORMAT = 1
HEADER, ARRAYS, ACTIONS, PROBABILITIES = "policy.json", "arrays.npz", "program.stablehlo", "probabilities.stablehlo"
MOST_SEED = 2**32 - 1


class Policy:
    """A trained agent that acts and learns no more.

    `config` is the config.json of its run, `spec` its sizes, `header` all of policy.json.
    """

    def __init__(self, header: dict[str, Any], arrays: dict[str, np.ndarray], programs: dict[str, Any]) -> None:
        """Take what `load_policy` has read."""
        self.header, self.config = header, header["config"]
        low, high = header["spec"]["reward_range"]
        limits = (-math.inf if low is None else low, math.inf if high is None else high)
        self.spec = Spec(**{**header["spec"], "reward_range": limits})
        self.num_items: int | None = header["num_items"]
        self._arrays = jax.device_put(arrays)
        self._programs = {name: jax.jit(program.call) for name, program in programs.items()}

    def act(self, context: Context, seed: int = 0) -> np.ndarray:
        """Choose an arm for each user: positions 0 ... K - 1 among the arms offered, [B], or slates of them, [B, M].

        The same contexts and seed give the same actions. An agent whose choice is random (Thompson sampling, epsilon,
        softmax, ties) draws by the seed: give each call another one, such as a counter. With one seed for all calls
        every call would draw alike.

        Raises:
            InputError: a context of another shape, or a seed out of range.
        """
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed <= MOST_SEED:
            raise InputError(f"seed is {seed!r}; allowed: a whole number, 0 to {MOST_SEED}")
        return self._answer(ACTIONS, context, int(seed))

    def probabilities(self, context: Context) -> np.ndarray:
        """Give the exact probability with which the agent takes each arm, [B, K].

        Raises:
            InputError: this agent cannot tell, or the context is of another shape.
        """
        if PROBABILITIES not in self._programs:
            agent = self.config["agent"]
            raise InputError(f"agent is {agent!r}, which tells no probabilities; allowed: act with many seeds")
        return self._answer(PROBABILITIES, context, 0)

    def context(
        self, user: Any, *, arm_id: Any = None, arms: Any = None, mask: Any = None, user_id: Any = None
    ) -> Context:
        """Make a context of plain arrays or lists, and check it.

        `user` [B, Du] are the features of the users. What is offered to them: nothing more where arms are fixed or the
        whole catalogue is offered; `arm_id` [B, K], rows of the catalogue, where there is one; else `arms` [B, K, Da],
        the features of the arms. `mask` [B, K] is false at arms that may not be taken. `user_id` [B] is optional.

        Raises:
            InputError: a field that this policy does not take or lacks, a wrong shape, type or value.
        """
        given = Context(user=user, user_id=user_id, arms=arms, arm_id=arm_id, mask=mask)
        return contexts.checked(given, self.spec, self.num_items, self._offered())

    def _offered(self) -> str | None:
        """Name the field that says which arms are offered; None where all are."""
        taken = {item["name"] for item in self.header["programs"][ACTIONS]["inputs"]["context"]}
        return next((name for name in ("arm_id", "arms") if name in taken), None)

    def _answer(self, name: str, context: Context, seed: int) -> np.ndarray:
        """Call a program for all users: filled up to a power of two, so that few sizes are compiled, or in parts."""
        fields = contexts.checked(context, self.spec, self.num_items, self._offered())._asdict()
        about = self.header["programs"][name]
        arrays = {item["name"]: self._arrays[item["name"]] for item in about["inputs"]["arrays"]}
        shown = {item["name"]: fields[item["name"]] for item in about["inputs"]["context"]}
        count, least, most = len(fields["user"]), about["users"]["least"], about["users"]["most"]
        found = [np.zeros((0, *about["output"]["shape"][1:]), about["output"]["dtype"])]
        for number, first in enumerate(range(0, count, most)):
            here = min(most, count - first)
            size = min(most, max(least, 1 << (here - 1).bit_length()))
            at = first + np.minimum(np.arange(size), here - 1)
            key = np.array([number, seed], np.uint32)  # that of jax.random.key(seed), for the first ones
            answer = self._programs[name](arrays, key, {field: value[at] for field, value in shown.items()})
            found.append(np.asarray(answer)[:here])
        return np.concatenate(found)


def load_policy(path: str | os.PathLike[str]) -> Policy:
    """Read a policy that `jaxbandit export` wrote, from a local directory or gs://.

    Raises:
        InputError: no policy there, a damaged one, or one of a newer jaxbandit or JAX.
    """
    directory = epath.Path(mounted(str(path)))
    header = read_header(directory)
    files = {name: (directory / name).read_bytes() for name in intact(directory, header)}
    try:
        with np.load(io.BytesIO(files.pop(ARRAYS)), allow_pickle=False) as archive:
            arrays = dict(archive)
    except (ValueError, OSError, zipfile.BadZipFile):
        raise damaged(directory, f"{ARRAYS} holds no arrays") from None
    try:
        programs = {name: export.deserialize(bytearray(content)) for name, content in files.items()}
    except ValueError as error:
        written, here = header["jax"], jax.__version__
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"policy {str(directory)!r} was exported by JAX {written}, and JAX {here} cannot read it ({reason}); "
            f"allowed: JAX {written}, or to export it again"
        ) from None
    return Policy(header, arrays, programs)


def read_header(directory: epath.Path) -> dict[str, Any]:
    """Read policy.json.

    Raises:
        InputError: there is none, a damaged one, or one of a newer format.
    """
    path = directory / HEADER
    if not path.exists():
        inner = directory / "policy"
        hint = f"did you mean {str(inner)!r}? " if (inner / HEADER).exists() else ""
        raise InputError(f"policy is {str(directory)!r}, which holds none: {hint}allowed: the --out of an export")
    try:
        header = json.loads(path.read_text())
        version, _ = header["format"], (header["config"], header["spec"], header["programs"], header["files"])
    except (ValueError, KeyError, TypeError):
        raise damaged(directory, f"{HEADER} is not what was exported") from None
    if version != FORMAT:
        raise InputError(
            f"policy {str(directory)!r} has format {version!r}; allowed: {FORMAT}, which this jaxbandit reads; "
            "a newer one reads newer ones"
        )
    return header


def intact(directory: epath.Path, header: dict[str, Any]) -> list[str]:
    """List the files beside policy.json, all of which are what they were when they were exported.

    Raises:
        InputError: they are not.
    """
    for name, digest in header["files"].items():
        path = directory / name
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise damaged(directory, f"{name} is not what was exported")
    return list(header["files"])


def damaged(directory: epath.Path, what: str) -> InputError:
    """Build the error for a policy that is not as it was exported."""
    return InputError(f"policy {str(directory)!r} is damaged ({what}); allowed: delete it and export it again")
