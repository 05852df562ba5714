"""Thompson sampling by drawing a network for each user: a dropout mask, or a member of a bootstrapped ensemble.

No posterior is computed: the spread of the masked networks, or of the members, stands for one.
"""

from functools import partial
from math import e, factorial
from typing import Annotated, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Lt, doc
from flax import linen as nn
from jaxtyping import Array, Float, Key, PyTree

from jaxbandit._core import prng
from jaxbandit._core.hyperparameters import flat_settings
from jaxbandit.agents import exploration, settings
from jaxbandit.agents.models.members import values_of_members
from jaxbandit.agents.models.networks import example, make_network
from jaxbandit.agents.models.training import (
    Batch,
    Learned,
    TrainingSettings,
    batch_of,
    context_of,
    make_learner,
    values_of,
)
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec, Traced

Bootstrap = Literal["poisson", "exponential"]
POISSON = np.cumsum([1 / (e * factorial(k)) for k in range(11)])  # P(X <= k) of Poisson(1); beyond it is 1 in float32


class EnsembleState(NamedTuple):
    """What an ensemble learns, and the random functions that it keeps."""

    learned: Learned
    prior: PyTree  # parameters that are never trained; () without randomised priors


class Ensemble(NamedTuple):
    """Networks of one shape; each may have a random function of that shape added."""

    module: nn.Module
    size: int
    has_priors: bool
    prior_scale: Traced

    def predict(self, params: PyTree, context: Context, noise: bool = False) -> Float[Array, "*heads B K"]:
        """Predict by one network, without its random function."""
        return cast(Array, self.module.apply(params, context, noise=noise))

    def values(self, networks: tuple[PyTree, PyTree], context: Context) -> Float[Array, "B K"]:
        """Values of one network with its random function, if it has one."""
        values = self.predict(networks[0], context)
        return values + self.prior_scale * self.predict(networks[1], context) if self.has_priors else values

    def prior_values(self, prior: PyTree, context: Context) -> Float[Array, "q B K"]:
        """Values of the random functions."""
        return self.prior_scale * jax.vmap(self.predict, (0, None))(prior, context)

    def init(self, key: Key[Array, ""], spec: Spec, noise: bool) -> PyTree:
        """Draw the parameters of all networks."""
        return jax.vmap(lambda one: self.module.init(one, example(spec), noise=noise))(prng.split(key, self.size))


@flat_settings
def neural_dropout_ts(
    spec: Spec,
    *,
    dropout_rate: Annotated[Traced, Ge(0), Lt(1), doc("probability that a hidden unit is dropped")] = 0.2,
    training: TrainingSettings = TrainingSettings(),
    ties: settings.Ties = "random",
) -> Agent[Learned]:
    """Take argmax_a f~_a, f~ the network thinned by dropout, with a fresh mask for each user.

    The same masks regularise training. The arm tower is never masked, so that an item is encoded once.
    Sources: Gal & Ghahramani 2016, "Dropout as a Bayesian approximation", https://arxiv.org/abs/1506.02142; Riquelme,
    Tucker & Snoek 2018, "Deep Bayesian bandits showdown", https://arxiv.org/abs/1802.09127.
    """
    module = make_network(spec, training.shape)

    def predict(
        key: Key[Array, ""], params: PyTree, context: Context, noise: bool = False
    ) -> Float[Array, "*heads B K"]:
        return cast(Array, module.apply(params, context, dropout_rate, noise, rngs={"dropout": key}))

    learner = make_learner(spec, training, partial(predict, noise=training.noise))

    def select(key: Key[Array, ""], state: Learned, context: Context) -> Decision:
        mask_key, tie_key = prng.split(key)
        values = predict(mask_key, state.params, context)
        return Decision(exploration.greedy(tie_key, exploration.allowed(context, values), ties))

    return Agent(
        init=lambda key: learner.init(module.init(key, example(spec), noise=training.noise)),
        select=select,
        update=lambda key, state, seen: learner.learn(key, state, batch_of(spec, seen), seen.weight, seen.round),
    )


@flat_settings
def neural_ensemble_ts(
    spec: Spec,
    *,
    num_networks: Annotated[int, Ge(1), doc("networks of the ensemble")] = 10,
    bootstrap: Annotated[Bootstrap, doc("sample weights of a reward in each network, of mean 1")] = "poisson",
    randomized_priors: Annotated[bool, doc("add a random function to each network that is never trained")] = False,
    prior_scale: Annotated[Traced, Ge(0), doc("scale of these random functions")] = 1.0,
    training: TrainingSettings = TrainingSettings(),
    ties: settings.Ties = "random",
) -> Agent[EnsembleState]:
    """Take argmax_a f_ja, j one of q networks for each user; network j weighs a reward by Poisson(1) or Exp(1).

    Randomised priors: f_j + prior_scale h_j in place of f_j, h_j a network that keeps its first parameters.
    Sources: Osband & Van Roy 2015, "Bootstrapped Thompson sampling and deep exploration",
    https://arxiv.org/abs/1507.00300; Osband, Aslanides & Cassirer 2018, "Randomized prior functions for deep
    reinforcement learning", https://arxiv.org/abs/1806.03335.
    """
    ensemble = Ensemble(make_network(spec, training.shape), num_networks, randomized_priors, prior_scale)
    return ensemble_agent(spec, training, ensemble, bootstrap, ties)


def ensemble_agent(
    spec: Spec, training: TrainingSettings, ensemble: Ensemble, bootstrap: Bootstrap, ties: exploration.Ties
) -> Agent[EnsembleState]:
    """Act by a member drawn for each user; train each member on its own sample of the rewards."""

    def outputs(_: Key[Array, ""], params: PyTree, context: Context) -> Float[Array, "*heads B K"]:
        return ensemble.predict(params, context, training.noise)

    learner = make_learner(spec, training, outputs, ensemble.size)

    def init(key: Key[Array, ""]) -> EnsembleState:
        trained_key, prior_key = prng.split(key)
        prior = ensemble.init(prior_key, spec, noise=False) if ensemble.has_priors else ()
        return EnsembleState(learner.init(ensemble.init(trained_key, spec, training.noise)), prior)

    def select(key: Key[Array, ""], state: EnsembleState, context: Context) -> Decision:
        draw_key, tie_key = prng.split(key)
        member = jax.random.randint(draw_key, context.user.shape[:1], 0, ensemble.size)
        networks = (state.learned.params, state.prior)
        drawn = values_of_members(ensemble.values, networks, context, member)
        return Decision(exploration.greedy(tie_key, exploration.allowed(context, drawn), ties))

    def update(key: Key[Array, ""], state: EnsembleState, seen: Interaction) -> EnsembleState:
        weight_key, learn_key = prng.split(key)
        batch = _resampled(weight_key, spec, ensemble, bootstrap, state.prior, seen)
        return EnsembleState(learner.learn(learn_key, state.learned, batch, seen.weight, seen.round), state.prior)

    return Agent(init, select, update)


def _resampled(
    key: Key[Array, ""], spec: Spec, ensemble: Ensemble, bootstrap: Bootstrap, prior: PyTree, seen: Interaction
) -> Batch:
    """Make the batch of all members: weights of their own, and what their random functions leave of the rewards."""
    batch = batch_of(spec, seen)
    weight = seen.weight[:, None] * sample_weights(key, bootstrap, (seen.weight.shape[0], ensemble.size))
    reward = jnp.broadcast_to(seen.reward[:, None], weight.shape)
    if ensemble.has_priors:
        values = ensemble.prior_values(prior, context_of(spec, batch.user, batch.arm))
        reward = reward - values_of(spec, values, batch.arm).T
    return batch._replace(reward=reward, weight=weight)


def sample_weights(key: Key[Array, ""], bootstrap: Bootstrap, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Draw the weights of an online bootstrap, of mean 1: Poisson(1) or Exp(1)."""
    if bootstrap == "exponential":
        return jax.random.exponential(key, shape)
    edges = jnp.asarray(POISSON, jnp.float32)
    return jnp.searchsorted(edges, jax.random.uniform(key, shape), "right", method="compare_all").astype(jnp.float32)
