"""LinUCB of other libraries, and of a loop in C, beside ours: one world, one run, in turns. A JSON line for each.

Fixed arms (`mf`): a model for each of K items, the users of a batch are distinct. Arms with features (`mf-per-arm`):
one model of [user; item], other items for every user. All know of a batch only what was learnt before it, learn once
from it, and pay and measure regret. Each peer plays at its best: its own batches where it has them, one user after the
other where it does not, users and rewards drawn by NumPy (in C by the loop itself). It needs an environment of its own:

    python3 -m venv peers && peers/bin/pip install -r benchmarks/peers/linucb_requirements.txt
    peers/bin/python benchmarks/peers/linucb_peers.py --jaxbandit python --out benchmarks/results/linucb_peers.jsonl

and gcc. `--jaxbandit` is the Python that has jaxbandit. About five minutes on two cores.
"""

import argparse
import ast
import ctypes
import importlib.metadata
import json
import os
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

HERE = Path(__file__).parent
CORES = len(os.sched_getaffinity(0))
SECONDS, REPEATS = 0.7, 7  # of a turn, and turns
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared", "-fPIC")


class Case(NamedTuple):
    """A world and who plays in it."""

    env: str
    factorizer: str
    num_actions: int
    batch: int
    alpha: float
    ridge: float
    peers: tuple[str, ...]


CASES = {
    "20 fixed arms": Case("mf", "als", 20, 128, 1.0, 1.0, ("C", "gobrec", "contextualbandits", "mabwiser")),
    "1,000 fixed arms": Case("mf", "als", 1000, 128, 1.0, 1.0, ("C", "gobrec", "contextualbandits", "mabwiser")),
    "arms with features": Case("mf-per-arm", "svd", 20, 128, 10.0, 0.001, ("C", "coba")),
    "arms with features, batch 4,096": Case("mf-per-arm", "svd", 20, 4096, 10.0, 0.001, ("C",)),
}


class World:
    """The arrays of a world, and one batch of it after the other."""

    def __init__(self, case: Case, path: Path) -> None:
        self.case, self.rng, self.total = case, np.random.default_rng(0), 0.0
        arrays = np.load(path)
        self.user, self.item = arrays["user"], arrays["item"]
        self.user_reward, self.item_reward = arrays["user_reward"], arrays["item_reward"]
        self.mean, self.low, self.high = np.clip(arrays["scale"], -1e30, 1e30).astype(np.float32)

    def fixed(self, choose: Callable[[np.ndarray], np.ndarray], learn: Callable[..., None]) -> None:
        """Play one batch of `mf`."""
        who = self.rng.choice(len(self.user), self.case.batch, replace=False)
        users = self.user[who]
        means = np.clip(self.mean + self.user_reward[who] @ self.item_reward.T, self.low, self.high)
        action = choose(users)
        paid = means[np.arange(len(who)), action]
        self.total += float(np.mean(means.max(axis=1) - paid))
        learn(users, action, paid)


def gobrec(world: World, threads: int) -> Callable[[int], None]:
    import torch
    from gobrec.mabs.lin_mabs import LinUCB

    arms, dim = world.case.num_actions, world.user.shape[1]
    agent = LinUCB(seed=0, alpha=world.case.alpha, l2_lambda=world.case.ridge)
    agent.fit(np.zeros((arms, dim)), np.arange(arms), np.zeros(arms))  # so that it knows all arms
    play = rounds_of(world, lambda users: agent.predict(users).argmax(dim=1).numpy(), agent.fit)

    def with_threads(rounds: int) -> None:
        torch.set_num_threads(threads)
        play(rounds)

    return with_threads


def mabwiser(world: World) -> Callable[[int], None]:
    from mabwiser.mab import MAB, LearningPolicy

    arms, dim = world.case.num_actions, world.user.shape[1]
    agent = MAB(list(range(arms)), LearningPolicy.LinUCB(alpha=world.case.alpha, l2_lambda=world.case.ridge))
    agent.fit(np.arange(arms), np.zeros(arms), np.zeros((arms, dim)))
    return rounds_of(
        world, lambda users: np.array(agent.predict(users)), lambda x, action, paid: agent.partial_fit(action, paid, x)
    )


def contextualbandits(world: World) -> Callable[[int], None]:
    from contextualbandits.online import LinUCB

    agent = LinUCB(
        world.case.num_actions,
        alpha=world.case.alpha,
        lambda_=world.case.ridge,
        fit_intercept=False,
        random_state=1,
        njobs=1,  # threads only make it slower here
    )
    agent.partial_fit(world.user[:1], np.zeros(1, int), np.zeros(1))
    return rounds_of(world, lambda users: np.asarray(agent.predict(users)).astype(int), agent.partial_fit)


def coba(world: World) -> Callable[[int], None]:
    """Learn one user after the other: coba has no batches. Its ridge is 1."""
    from coba.learners import LinUCBLearner

    agent, rng, count = LinUCBLearner(world.case.alpha, ["x", "a"], 0), world.rng, world.case.num_actions

    def play(rounds: int) -> None:
        for _ in range(rounds * world.case.batch):
            who, items = rng.integers(len(world.user)), rng.choice(len(world.item), count, replace=False)
            means = np.clip(world.mean + world.item_reward[items] @ world.user_reward[who], world.low, world.high)
            context, arms = world.user[who].tolist(), [tuple(row) for row in world.item[items].tolist()]
            chosen, _ = agent.predict(context, arms)[:2]
            paid = float(means[arms.index(tuple(chosen))])
            world.total += float(means.max() - paid) / world.case.batch
            agent.learn(context, chosen, paid, 1.0)

    return play


def rounds_of(world: World, choose: Callable[[np.ndarray], np.ndarray], learn: Callable[..., None]) -> Callable:
    def play(rounds: int) -> None:
        for _ in range(rounds):
            world.fixed(choose, learn)

    return play


def in_c(world: World, threads: int) -> Callable[[int], None]:
    class Layout(ctypes.Structure):
        _fields_ = [
            *((name, ctypes.c_int) for name in ("users", "items", "user_dim", "item_dim", "rank", "arms", "batch")),
            *((name, ctypes.c_void_p) for name in ("user", "item", "user_reward", "item_reward")),
            *((name, ctypes.c_float) for name in ("mean", "low", "high", "alpha", "ridge")),
        ]

    library = Path(tempfile.mkdtemp()) / "linucb.so"
    subprocess.run(["gcc", *FLAGS, str(HERE / "linucb.c"), "-o", str(library), "-lm"], check=True)
    case, fixed = world.case, world.case.env == "mf"
    arrays = [
        np.ascontiguousarray(getattr(world, n), np.float32) for n in ("user", "item", "user_reward", "item_reward")
    ]
    (users, user_dim), (items, item_dim) = world.user.shape, world.item.shape
    sizes = (users, items, user_dim, item_dim, world.user_reward.shape[1], case.num_actions, case.batch)
    layout = Layout(*sizes, *(a.ctypes.data for a in arrays), world.mean, world.low, world.high, case.alpha, case.ridge)
    models, dim = (case.num_actions, user_dim) if fixed else (1, user_dim + item_dim)
    matrices = [np.zeros((models, dim, dim), np.float32) for _ in range(2)]
    vectors = [np.zeros((models, dim), np.float32) for _ in range(2)]
    loaded = ctypes.CDLL(str(library))
    function = loaded.disjoint if fixed else loaded.shared
    function.restype = ctypes.c_double
    state = [matrices[0], vectors[0], matrices[1], vectors[1], np.array([88172645463325252], np.uint64)]

    def play(rounds: int) -> None:
        loaded.omp_set_num_threads(threads)
        world.total += rounds * function(ctypes.byref(layout), *(ctypes.c_void_p(a.ctypes.data) for a in state), rounds)
        assert arrays  # kept alive while the loop reads them

    return play


PEERS = {"mabwiser": mabwiser, "contextualbandits": contextualbandits, "coba": coba}
THREADED = {"C": in_c, "gobrec": gobrec}  # measured with one thread and with all: where others work, one may be faster


class Ours:
    """jaxbandit in a process of its own, with an interpreter of its own."""

    def __init__(self, python: str, case: Case, ratings: str, path: Path) -> None:
        words = map(str, (*case[:4], case.alpha, case.ridge, ratings, path))
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([python, str(HERE / "ours.py"), *words], **pipes)
        self.facts = ast.literal_eval(self.process.stdout.readline())

    def __call__(self, rounds: int) -> float:
        self.process.stdin.write(f"{rounds}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jaxbandit", default="python", help="the Python that has jaxbandit")
    parser.add_argument("--ratings", default="synth-100k", help="name or path")
    parser.add_argument("--only", default="", help="the cases whose names contain this")
    parser.add_argument("--out", type=Path, help="also write the lines to this file")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = []
    for name, case in CASES.items():
        if arguments.only in name:
            for line in measure(case, arguments.jaxbandit, arguments.ratings):
                lines.append(json.dumps({"case": name} | line))
                print(lines[-1], flush=True)
    if arguments.out:
        arguments.out.write_text("".join(f"{line}\n" for line in lines))


def measure(case: Case, python: str, ratings: str) -> list[dict]:
    """Let all play for `SECONDS`, turn after turn."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "world.npz"
        ours = Ours(python, case, ratings, path)
        players: dict[str, Callable[[int], float]] = {"jaxbandit": ours}
        for name in case.peers:
            if name in PEERS:
                players[name] = timed(PEERS[name](World(case, path)))
            else:
                for threads in sorted({1, CORES}):
                    players[f"{name}, {threads} threads"] = timed(THREADED[name](World(case, path), threads))
    rounds = {name: enough(play) for name, play in players.items()}
    seconds = {name: [] for name in players}
    for _ in range(REPEATS):
        for name, play in players.items():
            seconds[name].append(play(rounds[name]))
    ours.process.stdin.close()
    ours.process.wait()
    return [row(case, name, rounds[name], seconds[name], ours.facts) for name in players]


def timed(play: Callable[[int], None]) -> Callable[[int], float]:
    def work(rounds: int) -> float:
        started = time.perf_counter()
        play(rounds)
        return time.perf_counter() - started

    return work


def enough(play: Callable[[int], float]) -> int:
    """Rounds that fill a turn."""
    rounds, seconds = 1, play(1)
    while seconds < SECONDS / 4:
        rounds *= 2
        seconds = play(rounds)
    return max(1, round(rounds * SECONDS / seconds))


def row(case: Case, name: str, rounds: int, seconds: list[float], facts: dict) -> dict:
    rates = [rounds * case.batch / spent for spent in seconds]
    peer, _, threads = name.partition(", ")
    by = peer if peer in ("C", "jaxbandit") else f"{peer} {importlib.metadata.version(peer)}"
    settings = {"env": case.env, "num_actions": case.num_actions, "batch_size": case.batch, "ratings": facts["ratings"]}
    settings |= {"threads": int(threads.split()[0])} if threads else {}
    measured = {"interactions_per_second": statistics.median(rates), "slowest": min(rates), "fastest": max(rates)}
    own = facts if name == "jaxbandit" else {key: facts[key] for key in ("device", "cpus", "machine")}
    return {"by": by, **settings, **measured, "repeats": len(rates), **own, "load": os.getloadavg()[0]}


if __name__ == "__main__":
    main()
