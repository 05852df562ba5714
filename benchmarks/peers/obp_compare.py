"""Open Bandit Pipeline's estimators beside ours on one log: one JSON line for each.

obp 0.5.7, its last release, asks for Python below 3.11 and numpy 1.23.5, so it needs an environment of its own. Only
its estimators are imported, for which torch is but a name, and they run beside numpy 2.

    jaxbandit run --env linear --agent uniform --log-interactions --out log
    python benchmarks/peers/export_log.py log log.npz
    python3 -m venv obp && obp/bin/pip install numpy pandas scikit-learn scipy pyyaml tqdm
    obp/bin/pip install --no-deps --ignore-requires-python obp==0.5.7
    obp/bin/python benchmarks/peers/obp_compare.py log.npz

Exits with 1 where one differs by more than 1e-5, relatively: propensities and probabilities are float32.
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np

CLASSES = {
    "ips": "InverseProbabilityWeighting",
    "snips": "SelfNormalizedInverseProbabilityWeighting",
    "dm": "DirectMethod",
    "dr": "DoublyRobust",
}


def estimators() -> types.ModuleType:
    """Import obp.ope.estimators without what the packages around it import."""
    torch = sys.modules["torch"] = types.ModuleType("torch")  # named in annotations alone
    torch.Tensor = torch.tensor = object
    root = Path(importlib.util.find_spec("obp").origin).parent
    for name, place in (("obp", root), ("obp.ope", root / "ope")):
        package = types.ModuleType(name)
        package.__path__ = [str(place)]
        sys.modules[name] = package
    return importlib.import_module("obp.ope.estimators")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=Path)
    log = np.load(parser.parse_args().log)
    module = estimators()
    given = {
        "reward": log["reward"].astype(np.float64),
        "action": log["action"].astype(int),
        "pscore": log["propensity"].astype(np.float64),
        "action_dist": log["chance"].astype(np.float64)[:, :, None],
        "estimated_rewards_by_reg_model": log["predicted"][:, :, None],
        "position": np.zeros(len(log["reward"]), int),
    }
    worst = 0.0
    for name, ours in zip(log["names"].tolist(), log["ours"].tolist(), strict=True):
        theirs = float(getattr(module, CLASSES[name])().estimate_policy_value(**given))
        difference = abs(theirs - ours) / abs(theirs)
        worst = max(worst, difference)
        line = {"estimator": name, "obp": theirs, "jaxbandit": ours, "relative_difference": difference}
        print(json.dumps(line | {"interactions": len(log["reward"]), "obp_version": importlib.metadata.version("obp")}))
    return int(worst > 1e-5)


if __name__ == "__main__":
    sys.exit(main())
