"""Sweep 64 values of alpha with 16 seeds each on Vertex AI, 1,024 lanes of one program on one accelerator.

python scripts/launch_sweep.py [--dry-run] [--machine v5e-8 --image ...-tpu ...]
"""

import sys
from pathlib import Path

from jaxbandit.cli.main import main

CLOUD = ["--cloud", str(Path(__file__).with_name("cloud.toml"))]
SWEEP = ["--agent=linucb", "--grid", "alpha=log:0.01:100:64", "--seeds=16", "--ratings=synth-100k"]

if __name__ == "__main__":
    main(["launch", "sweep", *CLOUD, *SWEEP, *sys.argv[1:]])
