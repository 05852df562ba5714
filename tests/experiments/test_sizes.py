"""What is refused for its size, and what is not: on a machine of 2 GiB, which takes half of them."""

import jax
import pytest

from jaxbandit._core import host
from jaxbandit._core.errors import InputError
from jaxbandit.experiments import sizes
from jaxbandit.experiments.config import Config, checked
from jaxbandit.experiments.world import build

POINT = 5 * 8  # bytes: five metrics in float64


@pytest.fixture(autouse=True)
def machine(monkeypatch) -> None:
    monkeypatch.setattr(host, "memory_bytes", lambda: 2 * 2**30)


def config(**settings) -> Config:
    return checked(Config(**{"env": "linear", "training_loops": 1, "steps_per_loop": 100} | settings))


def test_learning_curves_are_refused_from_the_first_lane_on_that_does_not_fit() -> None:
    most = 2**30 // (100 * POINT)  # of 100 rounds each is a point
    sizes.check_curves([config(seeds=most)])
    with pytest.raises(InputError, match=f"seeds is {most + 1}: .* allowed: at most {most} seeds"):
        sizes.check_curves([config(seeds=most + 1)])
    with pytest.raises(InputError, match=f"allowed: at most {most // 2} seeds"):  # lanes of all configurations together
        sizes.check_curves([config(seeds=most)] * 2)


@pytest.mark.parametrize(
    ("settings", "numbers"),
    [
        ({"batch_size": 2**20, "env_settings": {"num_actions": 256, "context_dim": 1}}, "num_actions 256"),
        ({"batch_size": 2**20, "env_settings": {"num_actions": 2, "context_dim": 256}}, "context_dim 256"),
        ({"batch_size": 1, "env_settings": {"num_actions": 2**14, "context_dim": 2**14}}, "num_actions 16384"),
        (
            {"env": "linear-per-arm", "batch_size": 2**10, "env_settings": {"num_actions": 2**9, "arm_dim": 2**9}},
            "arm_dim 512",
        ),
    ],
)
def test_a_round_of_a_gibibyte_is_allowed_and_one_of_more_is_not(settings, numbers) -> None:
    # The largest array of each has 2^28 numbers of four bytes; one more user, or feature, is too many.
    sizes.check_rounds([config(**settings)])
    one = {"num_actions": 1, "context_dim": 0} if settings["batch_size"] == 1 else {}
    larger = {name: value + one.get(name, 0) for name, value in settings["env_settings"].items()}
    batch = settings["batch_size"] + (not one)
    with pytest.raises(InputError, match=r"one round takes at least 1\.0 GiB and this machine has 1\.0 GiB"):
        sizes.check_rounds([config(**settings | {"batch_size": batch, "env_settings": larger})])
    with pytest.raises(InputError, match=numbers if not one else "num_actions 16385"):
        sizes.check_rounds([config(**settings | {"batch_size": batch, "env_settings": larger})])


def test_an_agent_is_refused_where_what_one_lane_learns_does_not_fit_a_device() -> None:
    half = 2**30 // jax.local_device_count() // 4  # numbers that a device holds
    features = int((half / 5) ** 0.5)  # of five arms, a matrix each
    for dim, fits in ((features - 20, True), (features + 20, False)):
        asked = config(env_settings={"context_dim": dim}, agent="linucb")
        if fits:
            sizes.check_agent(asked, build(asked))
        else:
            with pytest.raises(InputError, match=f"with 5 arms, {dim} features of users .* allowed: fewer features"):
                sizes.check_agent(asked, build(asked))
    uniform = config(env_settings={"context_dim": features + 20}, agent="uniform", agent_settings={})
    sizes.check_agent(uniform, build(uniform))  # learns nothing
