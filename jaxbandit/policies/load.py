"""An exported policy, read back: arrays and programs that answer contexts. Needs no run, no ratings and no agents.

A policy is a directory: policy.json (a `Header`, with the digests of the other files; it is written last), arrays.npz
(what the agent has learned, its settings, the catalogue), program.stablehlo (contexts -> actions) and, where the agent
knows them, probabilities.stablehlo. `jax.export.deserialize` reads a program; it is called with (arrays, key, context).
"""

import io
import math
import os
import zipfile
from collections.abc import Mapping
from typing import cast

import jax
import numpy as np
from etils import epath
from jax import export
from jaxtyping import Array

from jaxbandit._core.errors import InputError
from jaxbandit._core.files import mounted
from jaxbandit.policies import contexts
from jaxbandit.policies.header import ACTIONS, ARRAYS, PROBABILITIES, Header, damaged, intact, read_header
from jaxbandit.types import Context, Spec

MOST_SEED = 2**32 - 1
ROUNDING = 1e-5


class Policy:
    """A trained agent that acts and learns no more.

    `config` is the config.json of its run, `spec` its sizes, `header` all of policy.json.
    """

    def __init__(
        self, header: Header, arrays: Mapping[str, np.ndarray], programs: Mapping[str, export.Exported]
    ) -> None:
        """Take what `load_policy` has read."""
        self.header, self.config = header, header["config"]
        low, high = header["spec"]["reward_range"]
        limits = (-math.inf if low is None else low, math.inf if high is None else high)
        sizes = header["spec"]
        self.spec = Spec(sizes["num_actions"], sizes["user_dim"], sizes["arm_dim"], limits, sizes["slate_size"])
        self.num_items = header["num_items"]
        self._arrays = jax.device_put(dict(arrays))
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
        actions = self._answer(ACTIONS, context, int(seed))
        self._check_actions(actions, context)
        return actions

    def probabilities(self, context: Context) -> np.ndarray:
        """Give the exact probability with which the agent takes each arm, [B, K].

        Raises:
            InputError: this agent does not know them, or the context is of another shape.
        """
        if PROBABILITIES not in self._programs:
            agent = self.config["agent"]
            raise InputError(f"agent is {agent!r}, which tells no probabilities; allowed: act with many seeds")
        shares = self._answer(PROBABILITIES, context, 0)
        if not np.all((shares >= 0) & (shares <= 1 + ROUNDING)):  # nan too
            raise self._foreign("probabilities that are none")
        return shares

    def context(
        self, user: object, *, arm_id: object = None, arms: object = None, mask: object = None, user_id: object = None
    ) -> Context:
        """Make a context of arrays or nested lists, and check it.

        `user` [B, Du] are the features of the users. Where arms are fixed, or the whole catalogue is offered, nothing
        says what is offered. Else `arm_id` [B, K] does, by rows of the catalogue, or, where there is no catalogue,
        `arms` [B, K, Da], the features of the arms. `mask` [B, K] is false at arms that may not be taken. `user_id`
        [B] is optional.

        Raises:
            InputError: a field that this policy does not take or lacks, a wrong shape, type or value.
        """
        fields = {"user": user, "user_id": user_id, "arms": arms, "arm_id": arm_id, "mask": mask}
        checked = cast("dict[str, Array]", self._checked(fields))  # NumPy's, which serve as well
        arms, arm_id = checked.get("arms"), checked.get("arm_id")
        return Context(checked["user"], checked["user_id"], arms, arm_id, mask=checked["mask"])

    def _check_actions(self, actions: np.ndarray, context: Context) -> None:
        """Raise InputError where a program has answered what is no arm, or one that may not be taken."""
        if np.any((actions < 0) | (actions >= self.spec.num_actions)):
            wrong = actions[(actions < 0) | (actions >= self.spec.num_actions)].flat[0]
            raise self._foreign(f"action {wrong} of arms 0 to {self.spec.num_actions - 1}")
        if context.mask is not None:
            slates = actions[:, None] if actions.ndim == 1 else actions
            if not np.all(np.take_along_axis(np.asarray(context.mask), slates, axis=1)):
                raise self._foreign("an arm that the mask forbids")

    def _foreign(self, answer: str) -> InputError:
        return InputError(
            f"the program of this policy has answered {answer}: it is damaged, or none that jaxbandit has exported; "
            "allowed: export it again"
        )

    def _offered(self) -> str | None:
        """Name the field that says which arms are offered; None where all are."""
        taken = {item["name"] for item in self.header["programs"][ACTIONS]["inputs"]["context"]}
        return next((name for name in ("arm_id", "arms") if name in taken), None)

    def _checked(self, fields: Mapping[str, object]) -> dict[str, np.ndarray]:
        return contexts.checked(fields, self.spec, self.num_items, self._offered())

    def _answer(self, name: str, context: Context, seed: int) -> np.ndarray:
        """Call a program for all users, `most` at a time.

        Each call is filled up to a power of two by repeating its last user, so that few sizes are compiled.
        """
        fields = self._checked(context._asdict())
        about = self.header["programs"][name]
        arrays = {item["name"]: self._arrays[item["name"]] for item in about["inputs"]["arrays"]}
        taken = {item["name"]: fields[item["name"]] for item in about["inputs"]["context"]}
        count, least, most = len(fields["user"]), about["users"]["least"], about["users"]["most"]
        output = np.zeros((count, *map(int, about["output"]["shape"][1:])), about["output"]["dtype"])
        for call, first in enumerate(range(0, count, most)):
            users = min(most, count - first)
            size = min(most, max(least, 1 << (users - 1).bit_length()))
            rows = first + np.minimum(np.arange(size), users - 1)
            key = np.array([call, seed], np.uint32)  # of the first call: that of jax.random.key(seed)
            answer = self._programs[name](arrays, key, {field: value[rows] for field, value in taken.items()})
            output[first : first + users] = np.asarray(answer)[:users]
        return output


def load_policy(path: str | os.PathLike[str]) -> Policy:
    """Read a policy that `jaxbandit export` wrote, from a local directory or gs://.

    Raises:
        InputError: no policy there, a damaged one, or one of a newer jaxbandit or JAX.
    """
    directory = epath.Path(mounted(str(path)))
    header = read_header(directory)
    files = intact(directory, header)
    try:
        with np.load(io.BytesIO(files.pop(ARRAYS)), allow_pickle=False) as archive:
            arrays = dict(archive)
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile):
        raise damaged(directory, f"{ARRAYS} holds no arrays") from None
    try:
        programs = {name: export.deserialize(bytearray(content)) for name, content in files.items()}
    except ValueError as error:
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"policy {str(directory)!r} was exported by JAX {header['jax']}, and JAX {jax.__version__} cannot read it "
            f"({reason}); allowed: JAX {header['jax']}, or to export it again"
        ) from None
    return Policy(header, arrays, programs)
