"""jaxbandit's side of linucb_peers.py, which starts it: write the arrays of a world, then play.

Each line that it reads is a number of rounds. It runs in the environment of jaxbandit and knows no peers.
"""

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from measuring import lanes_runner, versions

from jaxbandit.data import load
from jaxbandit.experiments.config import Config, checked
from jaxbandit.experiments.world import build


def main() -> None:
    env, factorizer, num_actions, batch, alpha, ridge, ratings, out = sys.argv[1:]
    settings = {"factorizer": factorizer, "num_actions": int(num_actions)}
    agent = {"alpha": float(alpha), "tikhonov_weight": float(ridge)}
    simulation = build(checked(Config(env=env, ratings=ratings, env_settings=settings, agent_settings=agent)))
    params = simulation.params
    items = params.catalogue.features
    np.savez(
        out,
        user=params.user,
        item=items,
        user_reward=params.user_reward,
        item_reward=items if params.item_reward is None else params.item_reward,
        scale=[params.reward.mean, params.reward.low, params.reward.high],
    )
    runner = lanes_runner(simulation, batch_size=int(batch))
    print(repr({**versions(), "ratings": load(ratings).name, "compile_seconds": runner.compile_seconds}), flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        runner.advance(int(line))
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
