"""Compile sweeps for accelerators that are not there, and say what their compilers expect of the programs.

JSON lines, one for each case and target: a compiler's model, or an estimate from counts, never a measurement. Per
round, which is one turn of the loop over rounds:
  TPU  Cycles by the compiler's estimates, loops multiplied out. Gathers and Pallas kernels have no estimate: they count
       by their final instruction bundles, read by bundles.py where libtpu writes them (LIBTPU_INIT_ARGS=
       "--xla_jf_dump_to=DIR --xla_jf_dump_llo_text=true --xla_jf_dump_llo_pass_label_regex=^final_bundles$"; a file
       DIR/*-NAME-*-final_bundles.txt for each operation). `bundles_per_round` counts the bundles of all operations:
       what the chip issues, without waits for memory. Estimates are rougher, often several times as high.
  GPU  Kernels, how many are outside CUDA graphs, graphs, waits of the host, and microseconds estimated from these.
Each case is compiled in a process of its own, a few seconds for a GPU, half a minute to some minutes for a TPU.
Run: python benchmarks/accelerators/compile.py --for v5e:2x2 --for h100 [--only NAME] [--plain] [--keep DIR]
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"  # before JAX looks for the devices whose compilers are installed
sys.path.append(str(Path(__file__).parents[1]))

import targets
from cases import CASES, Case
from measuring import Report

from jaxbandit._core.errors import InputError, unknown

PROGRAM = Path(__file__).with_name("program.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--for", dest="targets", action="append", help=f"repeatable: {', '.join(targets.TARGETS)}")
    parser.add_argument("--only", help="compile the cases whose names contain this")
    parser.add_argument("--case", action="append", help="compile the case of this name, on any target; repeatable")
    parser.add_argument("--chips", type=int, help="chips to spread the lanes over; default: what the case says")
    parser.add_argument("--plain", action="store_true", help="compile the code of a CPU instead of the target's own")
    parser.add_argument("--no-bundles", action="store_true", help="twice as quick for a TPU; gathers are not counted")
    parser.add_argument("--keep", type=Path, help="keep HLO and what else the compilers write in this directory")
    parser.add_argument("--out", type=Path, help="also write the lines to this file")
    arguments = parser.parse_args()
    try:
        work = list(chosen(arguments))
    except InputError as error:
        print(f"compile.py: {error}", file=sys.stderr)
        sys.exit(2)
    report, failed = Report(arguments.out), 0
    for target, name, chips in work:
        settings = {"case": name, "target": target, "chips": chips, "plain": arguments.plain}
        try:
            report.add(**settings, **compiled(target, name, chips, arguments))
        except subprocess.CalledProcessError as error:
            failed += 1
            report.add(**settings, error=error.stderr.strip().splitlines()[-1:])
            print(error.stderr, file=sys.stderr)
    report.write()
    sys.exit(1 if failed else 0)


def chosen(arguments: argparse.Namespace) -> list[tuple[str, str, int]]:
    """Targets, cases and chips.

    Raises:
        InputError: there is no such target, compiler or case, or the chips do not divide the lanes.
    """
    found = {name: targets.checked(name) for name in arguments.targets or targets.TARGETS}
    for name in arguments.case or ():
        if name not in CASES:
            raise unknown("case", name, CASES)
    work = []
    for target, what in found.items():
        for name, case in CASES.items():
            if name in arguments.case if arguments.case else (arguments.only or "") in name and target in case.targets:
                chips = case.chips if arguments.chips is None else arguments.chips
                check_chips(chips, target, what, name, case)
                work.append((target, name, chips))
    if not work:
        raise InputError(f"--only is {arguments.only!r}: no case of {', '.join(found)} has it in its name")
    return work


def check_chips(chips: int, target: str, what: targets.Target, name: str, case: Case) -> None:
    lanes = case.configurations * case.seeds
    if not 1 <= chips <= what.chips:
        raise InputError(f"--chips is {chips}: {target} has {what.chips}; allowed: 1 to {what.chips}")
    if lanes % chips:
        raise InputError(f"--chips is {chips}, which does not divide the {lanes} lanes of case {name!r}")


def compiled(name: str, case: str, chips: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compile in a process of its own and return its line."""
    target = targets.TARGETS[name]
    with tempfile.TemporaryDirectory() as scratch:
        label = re.sub(r"\W+", "-", f"{name} {case}") + "-plain" * arguments.plain
        dumps = (arguments.keep or Path(scratch)).resolve() / label
        dumps.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, PROGRAM, "--for", name, "--case", case, "--chips", str(chips), "--dumps", dumps]
        command += ["--compiler", target.compiler, *["--plain"] * arguments.plain]
        variables = targets.environment(target, dumps, bundles=not arguments.no_bundles)
        got = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        return json.loads(got.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
