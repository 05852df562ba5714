"""Write a log, a target policy on it and our estimates as an .npz. Run from the environment of jaxbandit.

Run: python benchmarks/peers/export_log.py LOG [--agent neural-boltzmann] log.npz
"""

import argparse
from pathlib import Path

import numpy as np
from etils import epath

from jaxbandit.experiments import log_reader
from jaxbandit.experiments.config import Config, checked, read_config
from jaxbandit.policies import evaluate, log_sums, trained
from jaxbandit.policies.estimators import ESTIMATORS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=Path, help="directory of a run with --log-interactions")
    parser.add_argument("--agent", default="neural-boltzmann", help="target policy, with its own settings, untrained")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    out = str(arguments.out.with_suffix(".json"))
    content = evaluate.evaluate(str(arguments.log), Config(agent=arguments.agent), out=out)
    logged = checked(read_config(str(arguments.log / "config.json")))
    config = checked(Config(agent=arguments.agent, **trained.world_of(logged)))
    reader = log_reader.open_log(epath.Path(arguments.log))
    policy, model = trained.make_policy(config, log_sums.spec_of(reader.header)), log_sums.fit(reader)
    parts = []
    for rows in reader.rows():
        at = np.arange(len(rows.action))
        user, fold = np.asarray(rows.context.user), log_sums.folds(rows, reader)
        predicted = model.predict(rows.seed, fold, user, rows.offered(at))
        parts.append((rows.action, rows.reward, rows.propensity, np.asarray(policy(rows.context)), predicted))
    names = ("action", "reward", "propensity", "chance", "predicted")
    columns = {name: np.concatenate(x) for name, x in zip(names, zip(*parts, strict=True), strict=True)}
    ours = [content["estimates"][name]["value"] for name in ESTIMATORS]
    np.savez_compressed(arguments.out, names=list(ESTIMATORS), ours=ours, **columns)


if __name__ == "__main__":
    main()
