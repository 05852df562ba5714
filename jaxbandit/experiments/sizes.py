"""What configurations need of memory as far as their numbers tell, before anything is made. It allocates nothing.

These are lower bounds: what passes them may still be too large for a compiled program, which `lanes` then says.
"""

from collections.abc import Sequence

import jax

from jaxbandit._core import memory, processes
from jaxbandit._core.errors import InputError
from jaxbandit.experiments.config import Config
from jaxbandit.simulation import chunks
from jaxbandit.simulation.lanes import Simulation
from jaxbandit.simulation.metrics import RoundMetrics

FLOAT, GIB = 4, 2**30
OF_USERS = ("context_dim", "user_dim", "rank_k")  # settings that are features of a user, of fixed arms too
OF_ARMS = ("arm_dim", "rank_k")
POINT = 8 * len(RoundMetrics._fields)  # bytes of a point of a lane's learning curves


def check_curves(configs: Sequence[Config]) -> None:
    """Refuse more lanes than this machine can hold the learning curves of.

    Raises:
        InputError: they are too many.
    """
    budget = processes.least(memory.of_host())
    points = max(len(chunks.point_edges(config.rounds)) - 1 for config in configs)
    lanes = sum(config.seeds for config in configs)
    if lanes * points * POINT > budget:
        most = budget // (points * POINT * len(configs))
        raise InputError(
            f"seeds is {max(config.seeds for config in configs)}: the learning curves of {lanes:,} lanes take "
            f"{_gib(lanes * points * POINT)} and this machine has {_gib(budget)}; allowed: at most {most} seeds"
        )


def check_rounds(configs: Sequence[Config]) -> None:
    """Refuse a world whose arrays, or the users and arms of one of whose rounds, are too large for this machine.

    Raises:
        InputError: they are.
    """
    budget = processes.least(memory.of_host())
    for config in configs:
        arms, users, of_arms = (_largest(config, names) for names in (("num_actions",), OF_USERS, OF_ARMS))
        batch = config.batch_size
        of_offers = 0 if config.env == "mf" else batch * arms * of_arms
        size = FLOAT * max(batch * arms, batch * users, arms * users, of_offers)
        if size > budget:
            named = {name: config.env_settings.get(name) for name in ("num_actions", *OF_USERS, "arm_dim")}
            sizes = [
                f"batch_size is {batch}",
                *(f"{name} {value}" for name, value in named.items() if value is not None),
            ]
            raise InputError(
                f"{', '.join(sizes)}: one round takes at least {_gib(size)} and this machine has {_gib(budget)}; "
                "allowed: less of them"
            )


def check_agent(config: Config, simulation: Simulation) -> None:
    """Refuse an agent the state of one of whose lanes is too large for a device.

    Raises:
        InputError: it is.
    """
    budget = processes.least(memory.budget(jax.local_devices()[0]))
    size = memory.size_of(jax.eval_shape(simulation.example_agent.init, jax.random.key(0)))
    if size > budget:
        spec = simulation.environment.spec
        raise InputError(
            f"agent is {config.agent}: with {spec.num_actions} arms, {spec.user_dim} features of users and "
            f"{spec.arm_dim} of arms what one lane learns takes {_gib(size)} and a device has {_gib(budget)} for it; "
            "allowed: fewer features or arms, or smaller layers"
        )


def _largest(config: Config, names: Sequence[str]) -> int:
    """Largest of these settings of the environment, 1 where it has none of them."""
    return max((int(config.env_settings.get(name) or 1) for name in names), default=1)


def _gib(size: int) -> str:
    return f"{size / GIB:,.1f} GiB"
