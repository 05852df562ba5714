"""The numbers of some twenty runs and sweeps, kept to see that a change of the code's shape left them alone.

On one machine, and one version of JAX, all files are the same byte for byte; elsewhere XLA may sum in another order, so
`compare` then says how far the values are apart. About five minutes on two cores.
Run: python benchmarks/golden.py record before.json, and later: python benchmarks/golden.py compare before.json.
`benchmarks/results/golden.json` is the record of the code before it was moved into rooms.
"""

import argparse
import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl
from measuring import versions

SHORT = "--batch-size 32 --training-loops 20 --steps-per-loop 10 --seeds 3"
NEURAL = "--batch-size 16 --training-loops 10 --steps-per-loop 5 --seeds 2"
LONG = "--env wheel --batch-size 16 --training-loops 200 --steps-per-loop 100 --checkpoint-every 5"
CASES = {
    "linucb": f"run {SHORT}",
    "linucb hadamard": f"run --features hadamard --add-bias true {SHORT}",
    "svd": f"run --factorizer svd --env mf --alpha 10 --tikhonov-weight 0.001 {SHORT}",
    "lints, all arms, star": f"run --agent lints --arms all --reward star {SHORT}",
    "hybrid, masks, walks": f"run --agent hybrid-linucb --env mf --min-actions 5 --user-drift 0.01 {SHORT}",
    "nig-lints": f"run --agent nig-lints --env linear {SHORT}",
    "window": f"run --agent sliding-window-linucb --env drifting-linear {SHORT}",
    "discounted": f"run --agent discounted-linucb --env piecewise --period 50 {SHORT}",
    "logistic": f"run --agent logistic-ts --env bernoulli {SHORT}",
    "squarecb, delay, log": f"run --agent squarecb --delay 7 --log-interactions {SHORT}",
    "exp3 mixture": f"run --agent exp3-mixture {SHORT}",
    "cascade": f"run --agent cascade-linucb --env cascade {SHORT}",
    "neural": f"run --agent neural-epsilon-greedy {NEURAL}",
    "neural-ucb": f"run --agent neural-ucb --env wheel {NEURAL}",
    "neural-linucb": f"run --agent neural-linucb --env linear {NEURAL}",
    "neural ensemble": f"run --agent neural-ensemble-ts --env linear-per-arm {NEURAL}",
    "grid": f"sweep --grid alpha=log:0.1:10:5 batch-size=16,32 {SHORT.replace('--batch-size 32', '')}",
    "agents": f"sweep --agent linucb,lints,greedy --grid tikhonov-weight=0.5,1 --env linear {SHORT}",
    "sample, tiles": "sweep --sample alpha=log:0.1:10 tikhonov-weight=linear:0.1:2 --num-configs 9 --max-lanes 8 "
    f"{SHORT}",
    "halving": f"sweep --grid alpha=log:0.01:100:9 --halving eta=3 {SHORT}",
    "halving, neural": f"sweep --agent neural-epsilon-greedy --env wheel --sample learning-rate=log:1e-4:1e-1 "
    f"epsilon=linear:0:0.3 --num-configs 4 --halving 2 {NEURAL}",
    "resumed run": f"run {LONG}",
    "resumed sweep": f"sweep --grid alpha=0.1,1,10 {LONG.replace('200', '100')}",
}
TABLES = ("metrics.csv", "results.csv", "halving.csv", "best.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", help="the cases whose names contain this")
    arguments = parser.parse_args()
    before = json.loads(arguments.file.read_text()) if arguments.action == "compare" else None
    with tempfile.TemporaryDirectory() as directory:
        cases = {
            name: played(name, flags.split(), Path(directory) / name.replace(" ", "-").replace(",", ""))
            for name, flags in CASES.items()
            if (arguments.only or name) in name
        }
    if before is None:
        arguments.file.write_text(json.dumps({"versions": versions(), "cases": cases}, indent=1) + "\n")
    else:
        sys.exit(differences(before["cases"], cases))


def played(name: str, flags: list[str], out: Path) -> dict[str, Any]:
    """Run a case to its end, by way of an interruption where its name says so: digest and last row of every table."""
    print(name, flush=True)
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "jaxbandit", *flags, "--out", str(out)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if name.startswith("resumed"):
        while process.poll() is None and not any(out.glob("checkpoints/**/*.sha256")):
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        stopped = process.communicate()[1]
        if process.returncode != 130:
            sys.exit(f"golden.py: {name} was not interrupted: {stopped}")
        resume = [sys.executable, "-m", "jaxbandit", flags[0], "--resume", "--out", str(out)]
        process = subprocess.Popen(
            resume, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
    errors = process.communicate()[1]
    if process.returncode:
        sys.exit(f"golden.py: {name} ended with status {process.returncode}: {errors}")
    found = {table: kept((out / table).read_bytes()) for table in TABLES if (out / table).exists()}
    for part in sorted(out.glob("interactions/**/*.parquet")):
        rows = pl.read_parquet(part).rows()
        found[str(part.relative_to(out))] = kept("\n".join(map(str, rows)).encode())
    return found


def kept(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "last": content.decode().splitlines()[-1]}


def differences(before: dict[str, Any], after: dict[str, Any]) -> int:
    """Print what differs; the exit status."""
    count = 0
    for name, tables in after.items():
        for table in sorted({*tables, *before.get(name, {})}):
            old, new = before.get(name, {}).get(table), tables.get(table)
            if old is None or new is None or old["sha256"] != new["sha256"]:
                count += 1
                print(f"{name}: {table} differs: {distance(old, new)}")
    print(f"{count} of {sum(map(len, after.values()))} tables differ")
    return min(count, 1)


def distance(old: dict[str, Any] | None, new: dict[str, Any] | None) -> str:
    if old is None or new is None:
        return "it is there in one record alone"
    rows = [next(csv.reader([record["last"]])) for record in (old, new)]
    try:
        pairs = [(float(a), float(b)) for a, b in zip(*rows, strict=True)]
    except ValueError:
        return f"last rows {old['last']!r} and {new['last']!r}"
    return f"last rows by up to {max(abs(a - b) / max(abs(a), abs(b), 1e-9) for a, b in pairs):.1e} of themselves"


if __name__ == "__main__":
    main()
