"""Hybrid LinUCB: coefficients that all arms share, and each arm's own. Arms are fixed."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxbandit._core.linalg import einsum
from jaxbandit.agents import exploration, settings
from jaxbandit.agents.linear import make_model
from jaxbandit.agents.models import features, gaussian
from jaxbandit.agents.models.gaussian import Posterior, Solution
from jaxbandit.types import Agent, Context, Decision, Spec, Traced


def hybrid_linucb(
    spec: Spec,
    *,
    alpha: settings.Alpha = 1.0,
    gamma: settings.Gamma = 1.0,
    tikhonov_weight: settings.TikhonovWeight = 1.0,
    add_bias: settings.AddBias = False,
    ties: settings.Ties = "random",
) -> Agent[Posterior]:
    """Take argmax_a z'beta + x'theta_a + alpha s_a, beta shared by all arms; z = x = the user's features.

    Fixed arms have no features, so that z, the paper's features of user and arm together, are those of the user too.
    Source: Li et al. 2010, Algorithm 2.
    """
    settings.require_fixed_arms(spec, "hybrid-linucb")
    model = make_model(spec, "concat", add_bias, gamma)

    def select(key: Key[Array, ""], state: Posterior, context: Context) -> Decision:
        user = features.with_bias(context.user, add_bias)
        mean, variance = predict(user, gaussian.solve(state, tikhonov_weight), tikhonov_weight)
        scores = exploration.upper_bounds(context, mean, variance, alpha)
        return Decision(exploration.greedy(key, scores, ties))

    return Agent(lambda key: model.init(), select, lambda key, state, seen: model.update(state, seen))


def predict(
    user: Float[Array, "B d"], solution: Solution, ridge: Traced
) -> tuple[Float[Array, "B K"], Float[Array, "B K"]]:
    """Mean and variance of the reward of every arm, from the statistics of disjoint models.

    With z = x the paper's B_a is M_a - ridge I, so that all else follows from the M_a and b_a: A0 = ridge (I + sum_a
    (I - ridge M_a^-1)), b0 = ridge sum_a M_a^-1 b_a, and the part of x that beta explains in arm a, ridge M_a^-1 x.
    """
    num_arms, dim = solution.mean.shape
    inverse = einsum("kei,kej->kij", solution.whitener, solution.whitener)
    precision = ridge * ((1 + num_arms) * jnp.eye(dim) - ridge * jnp.sum(inverse, axis=0))
    whitener = gaussian.inverse_cholesky(precision, least=ridge)
    beta = einsum("ei,ej,j->i", whitener, whitener, ridge * jnp.sum(solution.mean, axis=0))
    share = ridge * einsum("bi,kij->bkj", user, inverse)
    own = einsum("bd,ked->bke", user, solution.whitener)
    common = einsum("bkd,ed->bke", share, whitener)
    mean = einsum("bd,kd->bk", user, solution.mean) + einsum("bkd,d->bk", share, beta)
    return mean, jnp.sum(own * own, axis=-1) + jnp.sum(common * common, axis=-1)
