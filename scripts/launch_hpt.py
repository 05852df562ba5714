"""Tune LinUCB on Vertex AI, then train at full scale with the best values: `jaxbandit launch hpt` as a script to edit.

python scripts/launch_hpt.py [--dry-run] [--machine a100x1 ...]
"""

import sys
from pathlib import Path

from jaxbandit.cli.main import main

CLOUD = ["--cloud", str(Path(__file__).with_name("cloud.toml"))]
TRAINING = ["--agent=linucb", "--ratings=synth-100k", "--training-loops=200", "--seeds=8"]
TUNE = [
    "--tune=alpha=log:0.01:30",
    "--tune=tikhonov-weight=log:0.001:10",
    "--tune=batch-size=32,64,128",
]
STUDY = ["--trials=24", "--parallel=4", "--metric=final_average_return"]
FINAL = ["--then-train", "--final=training-loops=500", "--final=seeds=64"]

if __name__ == "__main__":
    main(["launch", "hpt", *CLOUD, *TRAINING, *TUNE, *STUDY, *FINAL, *sys.argv[1:]])
