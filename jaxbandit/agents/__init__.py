"""Agents: a file holds how one, or one family, chooses arms and what it learns from rewards.

What they learn with (posteriors, networks, replay) lives in `models`; no world and no simulation lives here.

AGENTS, the registry, is the one place where agents have names. A factory says in one line what its agent does, and
equations are in the notation that all of this package uses:

    B users are served in a round, K arms are offered to each; a is one of these arms. v' transposes v.
    x_a     joint features of the user and arm a; the user's alone, x, where arms are fixed
    r, w    a reward, and its weight in what is learned: 0 where there is no reward
    f_a     predicted reward of arm a, and s_a its standard deviation
    M       = A + lambda I with A = sum w x x', lambda the setting `tikhonov_weight`
    theta   = M^-1 b with b = sum w r x: a linear model, f_a = x_a'theta and s_a^2 = x_a' M^-1 x_a. Where arms are fixed
            each has a model of its own, M_a and theta_a; otherwise all share one.
    L       the Cholesky factor of M: M = L L'
    phi     parameters of a network; g_a is the gradient of f_a in phi, z_a the last hidden layer, m a width
    n       interactions so far, n_a those in which arm a was taken
    p_a     probability of taking arm a
    xi      noise, standard normal where nothing else is said; y~ is a draw of y from its posterior
    alpha, gamma, epsilon and whatever is written out are settings of these names.
"""

from jaxbandit._core.registry import Registry
from jaxbandit.types import AgentFactory

AGENTS: Registry[AgentFactory] = Registry(
    __name__,
    {
        "uniform": "baselines.uniform",
        "oracle": "baselines.oracle",
        "best-fixed-arm": "baselines.best_fixed_arm",
        "greedy": "linear.greedy",
        "linucb": "linear.linucb",
        "lints": "linear.lints",
        "nig-lints": "nig_lints.nig_lints",
        "hybrid-linucb": "hybrid.hybrid_linucb",
        "sliding-window-linucb": "nonstationary.sliding_window_linucb",
        "discounted-linucb": "nonstationary.discounted_linucb",
        "squarecb": "inverse_gap.squarecb",
        "falcon": "inverse_gap.falcon",
        "logistic-ucb": "logistic.logistic_ucb",
        "logistic-ts": "logistic.logistic_ts",
        "bernoulli-ts": "bernoulli.bernoulli_ts",
        "exp3": "exp3.exp3",
        "exp3-mixture": "mixture.exp3_mixture",
        "neural-epsilon-greedy": "neural.neural_epsilon_greedy",
        "neural-boltzmann": "neural.neural_boltzmann",
        "neural-boltzmann-gumbel": "neural.neural_boltzmann_gumbel",
        "neural-dropout-ts": "neural_ensemble.neural_dropout_ts",
        "neural-ensemble-ts": "neural_ensemble.neural_ensemble_ts",
        "neural-linear-ts": "neural_linear.neural_linear_ts",
        "neural-linucb": "neural_linear.neural_linucb",
        "neural-ucb": "neural_ucb.neural_ucb",
        "neural-ts": "neural_ucb.neural_ts",
        "cascade-linucb": "cascade.cascade_linucb",
        "cascade-plackett-luce": "cascade.cascade_plackett_luce",
    },
)
