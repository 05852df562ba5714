"""Hybrid LinUCB: coefficients that all arms share, and each arm's own. Arms are fixed."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxbandit._core.linalg import einsum
from jaxbandit.agents import exploration, settings
from jaxbandit.agents.linear import make_model
from jaxbandit.agents.models import features, gaussian
from jaxbandit.agents.models.cholesky import inverse_cholesky
from jaxbandit.agents.models.gaussian import Posterior, Solution
from jaxbandit.agents.settings import LinearSettings
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
    """Take argmax_a x'beta + x'theta_a + alpha s_a, beta shared by all arms; x is the user's features.

    The paper has features of user and arm together for beta; fixed arms have none, so that they are x too.
    Source: Li, Chu, Langford & Schapire 2010, "A contextual-bandit approach to personalized news article
    recommendation", Algorithm 2, https://arxiv.org/abs/1003.0146.
    """
    settings.require_fixed_arms(spec, "hybrid-linucb")
    model = make_model(spec, LinearSettings(tikhonov_weight, add_bias), gamma)

    def select(key: Key[Array, ""], state: Posterior, context: Context) -> Decision:
        user = features.with_bias(context.user, add_bias)
        mean, variance = predict(user, model.solve(state), tikhonov_weight)
        scores = exploration.upper_bounds(context, mean, variance, alpha)
        return Decision(exploration.greedy(key, scores, ties))

    return Agent(lambda key: model.init(), select, lambda key, state, seen: model.update(state, seen))


def predict(
    user: Float[Array, "B d"], solution: Solution, ridge: Traced
) -> tuple[Float[Array, "B K"], Float[Array, "B K"]]:
    """Mean and variance of the reward of every arm, from the statistics of disjoint models.

    The paper's B_a is M_a - lambda I here, so that all else follows from the M_a and theta_a: its
    A_0 = lambda (I + sum_a (I - lambda M_a^-1)), b_0 = lambda sum_a theta_a, beta = A_0^-1 b_0,
    f_a = x'theta_a + y_a'beta and s_a^2 = x' M_a^-1 x + y_a' A_0^-1 y_a with y_a = lambda M_a^-1 x.
    """
    num_arms, dim = solution.mean.shape
    inverse = einsum("kei,kej->kij", solution.whitener, solution.whitener)
    precision = ridge * ((1 + num_arms) * jnp.eye(dim) - ridge * jnp.sum(inverse, axis=0))
    whitener = inverse_cholesky(precision, least=ridge)
    beta = einsum("ei,ej,j->i", whitener, whitener, ridge * jnp.sum(solution.mean, axis=0))
    share = ridge * einsum("bi,kij->bkj", user, inverse)
    common = einsum("bkd,ed->bke", share, whitener)
    mean = einsum("bd,kd->bk", user, solution.mean) + einsum("bkd,d->bk", share, beta)
    return mean, gaussian.variance_each(solution, user) + jnp.sum(common * common, axis=-1)
