"""TF-Agents on the reference application's configuration: the same ratings, settings and metrics as throughput.py's.

Environment, agents, driver, replay buffer and metrics are its own, once under its own trainer as users run it
(summaries and a checkpoint after every loop), once in the barest loop that trains. Threads are left as TensorFlow sets
them. It needs an environment of its own:

    python3.11 -m venv peers && peers/bin/pip install -r benchmarks/peers/requirements.txt
    python benchmarks/peers/export.py --ratings ml-100k world.npz
    peers/bin/python benchmarks/peers/tf_agents_bench.py world.npz --out benchmarks/results/peers.jsonl

One JSON line for each case, every process for `--seconds` after its warm-up. About five minutes on two cores.
"""

import argparse
import contextlib
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RANK, ACTIONS, BATCH, STEPS_PER_LOOP = 20, 20, 128, 2  # the last as in the reference's example
WIDE = {"user_dim": 200, "arm_dim": 50, "num_actions": 10, "batch_size": 1000}
CORES = len(os.sched_getaffinity(0))
CASES = [  # world and agent, loop, processes side by side
    ("reference", "trainer", 1),
    ("reference", "bare", 1),
    ("reference", "trainer", CORES),
    ("reference", "bare", CORES),
    ("neural", "trainer", 1),
    ("neural", "bare", 1),
    ("wide", "trainer", 1),
]
WARM_UP = 2  # loops, which trace


class Over(Exception):
    """The time is over."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("world", type=Path, help="written by export.py")
    parser.add_argument("--out", type=Path, help="also write the lines to this file")
    parser.add_argument("--seconds", type=float, default=25)
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)  # a process that this one has started
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(*arguments.case, arguments.world, arguments.seconds)))
        return
    lines = []
    for case, loop, processes in CASES:
        result = side_by_side(case, loop, processes, arguments.world, arguments.seconds)
        lines.append(json.dumps({"case": case, "loop": loop, "processes": processes} | result))
        print(lines[-1], flush=True)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text("".join(f"{line}\n" for line in lines))


def side_by_side(case: str, loop: str, processes: int, world: Path, seconds: float) -> dict:
    """Run equal processes at the same time and add their rates."""
    command = [sys.executable, __file__, str(world), "--seconds", str(seconds), "--case", case, loop]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    running = [subprocess.Popen(command, **pipes) for _ in range(processes)]
    outputs = [process.communicate() for process in running]
    if any(process.returncode for process in running):
        sys.exit(f"tf_agents_bench.py: case {case!r} failed:\n{outputs[0][1]}")
    results = [json.loads(output.splitlines()[-1]) for output, _ in outputs]
    added = {key: sum(r[key] for r in results) for key in ("interactions_per_second", "slowest", "fastest")}
    return results[0] | added


def measure(case: str, loop: str, path: Path, seconds: float) -> dict:
    """Seconds from the start of a training loop to the start of the next, until the time is over."""
    import numpy as np
    import tensorflow as tf
    import tf_agents

    environment, agent, metrics, name = (wide if case == "wide" else movielens)(case, path)
    starts, regrets = [], []

    def tick() -> None:
        starts.append(time.perf_counter())
        regrets.append(float(metrics[0].result()))
        if len(starts) > WARM_UP + 3 and starts[-1] - starts[WARM_UP] > seconds:
            raise Over

    with contextlib.suppress(Over):
        (with_trainer if loop == "trainer" else barely)(environment, agent, metrics, tick)
    interactions = STEPS_PER_LOOP * environment.batch_size
    rates = [interactions / (end - start) for start, end in itertools.pairwise(starts[WARM_UP:])]
    return {
        "by": f"TF-Agents {tf_agents.__version__}",
        "ratings": name,
        "batch_size": environment.batch_size,
        "steps_per_loop": STEPS_PER_LOOP,
        "interactions_per_second": statistics.median(rates),
        "slowest": min(rates),
        "fastest": max(rates),
        "repeats": len(rates),
        "last_regret": float(np.mean(regrets[-10:])),
        "device": processor(),
        "cpus": CORES,
        "load": os.getloadavg()[0],
        "machine": platform.machine(),
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def with_trainer(environment, agent, metrics: list, tick) -> None:
    from tf_agents.bandits.agents.examples.v2 import trainer

    def watched(*parts):
        inner = trainer._get_training_loop(*parts)

        def loop(**arguments) -> None:
            tick()
            inner(**arguments)

        return loop

    with tempfile.TemporaryDirectory() as directory:
        trainer.train(
            directory,
            agent,
            environment,
            training_loops=10**6,
            steps_per_loop=STEPS_PER_LOOP,
            additional_metrics=metrics,
            get_training_loop_fn=watched,
        )


def barely(environment, agent, metrics: list, tick) -> None:
    """Driver into replay buffer, and one training on what it holds."""
    import tensorflow as tf
    from tf_agents.bandits.replay_buffers.bandit_replay_buffer import BanditReplayBuffer
    from tf_agents.drivers.dynamic_step_driver import DynamicStepDriver
    from tf_agents.metrics import tf_metrics

    batch = environment.batch_size
    buffer = BanditReplayBuffer(agent.policy.trajectory_spec, batch_size=batch, max_length=STEPS_PER_LOOP)
    observers = [buffer.add_batch, tf_metrics.EnvironmentSteps(), tf_metrics.AverageReturnMetric(batch_size=batch)]
    driver = DynamicStepDriver(
        environment, agent.collect_policy, num_steps=STEPS_PER_LOOP * batch, observers=observers + metrics
    )

    def with_length(tensor: tf.Tensor) -> None:
        tensor.set_shape([tensor.shape[0], STEPS_PER_LOOP, *tensor.shape[2:]])

    while True:
        tick()
        driver.run()
        dataset = buffer.as_dataset(sample_batch_size=batch, num_steps=STEPS_PER_LOOP, single_deterministic_pass=True)
        experience, _ = next(iter(dataset))
        tf.nest.map_structure(with_length, experience)
        agent.train(experience)
        buffer.clear()


def movielens(case: str, path: Path) -> tuple:
    """Make MovieLensPerArmPyEnvironment of the exported matrix, and the agent of the case."""
    import numpy as np
    from tf_agents.bandits.environments import dataset_utilities, environment_utilities
    from tf_agents.bandits.environments.movielens_per_arm_py_environment import MovieLensPerArmPyEnvironment
    from tf_agents.bandits.metrics import tf_metrics
    from tf_agents.environments.tf_py_environment import TFPyEnvironment

    world = np.load(path)
    # Its loader knows the size of MovieLens 100K only, and a file's layout; the class is as it comes otherwise.
    dataset_utilities.load_movielens_data = lambda *_, **__: world["matrix"].astype(np.float64)
    environment = TFPyEnvironment(MovieLensPerArmPyEnvironment("", RANK, BATCH, num_actions=ACTIONS))
    agent = neural_agent(environment) if case == "neural" else linucb_agent(environment, 10.0, 0.001)
    best_reward = environment_utilities.compute_optimal_reward_with_movielens_environment
    best_action = environment_utilities.compute_optimal_action_with_movielens_environment
    metrics = [
        tf_metrics.RegretMetric(lambda observation: best_reward(observation, environment)),
        tf_metrics.SuboptimalArmsMetric(lambda observation: best_action(observation, environment)),
    ]
    return environment, agent, metrics, str(world["name"])


def wide(case: str, path: Path) -> tuple:
    """Make the per-arm linear world with many features."""
    import numpy as np
    import tensorflow as tf
    from tf_agents.bandits.environments import stationary_stochastic_per_arm_py_environment as per_arm
    from tf_agents.bandits.metrics import tf_metrics
    from tf_agents.environments.tf_py_environment import TFPyEnvironment

    rng = np.random.default_rng(0)
    theta = rng.normal(size=WIDE["user_dim"] + WIDE["arm_dim"]).astype(np.float32)
    world = per_arm.StationaryStochasticPerArmPyEnvironment(
        lambda: rng.integers(-10, 10, WIDE["user_dim"]).astype(np.float32),
        lambda: rng.integers(-2, 3, WIDE["arm_dim"]).astype(np.float32),
        WIDE["num_actions"],
        lambda x: np.float32(rng.normal(np.dot(x, theta), 1)),
        batch_size=WIDE["batch_size"],
    )
    environment = TFPyEnvironment(world)

    def rewards(observation):
        user, arms = observation["global"], observation["per_arm"]
        theta_user, theta_arm = theta[: WIDE["user_dim"]], theta[WIDE["user_dim"] :]
        return tf.linalg.matvec(user, theta_user)[:, None] + tf.linalg.matvec(arms, theta_arm)

    metrics = [
        tf_metrics.RegretMetric(lambda observation: tf.reduce_max(rewards(observation), axis=1)),
        tf_metrics.SuboptimalArmsMetric(
            lambda observation: tf.argmax(rewards(observation), axis=1, output_type=tf.int32)
        ),
    ]
    return environment, linucb_agent(environment, 1.0, 1.0), metrics, None


def linucb_agent(environment, alpha: float, tikhonov_weight: float):
    import tensorflow as tf
    from tf_agents.bandits.agents.lin_ucb_agent import LinearUCBAgent

    return LinearUCBAgent(
        environment.time_step_spec(),
        environment.action_spec(),
        alpha=alpha,
        tikhonov_weight=tikhonov_weight,
        accepts_per_arm_features=True,
        dtype=tf.float32,
    )


def neural_agent(environment):
    """Towers of 64 and 32, a common one of 32, Adam at 0.003, epsilon 0.1: the defaults of our agent."""
    import tensorflow as tf
    from tf_agents.bandits.agents.neural_epsilon_greedy_agent import NeuralEpsilonGreedyAgent
    from tf_agents.bandits.networks import global_and_arm_feature_network as networks

    network = networks.create_feed_forward_common_tower_network(
        environment.observation_spec(), (64, 32), (64, 32), (32,)
    )
    return NeuralEpsilonGreedyAgent(
        environment.time_step_spec(),
        environment.action_spec(),
        reward_network=network,
        optimizer=tf.compat.v1.train.AdamOptimizer(learning_rate=0.003),
        epsilon=0.1,
        accepts_per_arm_features=True,
    )


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))


if __name__ == "__main__":
    main()
