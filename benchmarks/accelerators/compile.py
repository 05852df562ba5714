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
All of docs/accelerators.md: compile.py --both --out benchmarks/results/accelerators.jsonl, then report.py
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

os.environ["JAX_PLATFORMS"] = "cpu"  # before JAX looks for the devices whose compilers are installed
sys.path.append(str(Path(__file__).parents[1]))

import targets
from cases import CASES, Case
from measuring import versions

from jaxbandit._core.errors import InputError, unknown

PROGRAM = Path(__file__).with_name("program.py")


class Program(NamedTuple):
    """What is compiled in one process."""

    case: str
    target: str
    chips: int
    plain: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--for", dest="targets", action="append", help=f"repeatable: {', '.join(targets.TARGETS)}")
    parser.add_argument("--only", default="", help="compile the cases whose names contain this")
    parser.add_argument("--case", action="append", help="compile the case of this name, on any target; repeatable")
    parser.add_argument("--chips", type=int, help="chips to spread the lanes over; default: what the case says")
    parser.add_argument("--plain", action="store_true", help="compile the code of a CPU instead of the target's own")
    parser.add_argument("--both", action="store_true", help="after that compile the plain code of the first cases too")
    parser.add_argument("--no-bundles", action="store_true", help="twice as quick for a TPU; gathers are not counted")
    parser.add_argument("--keep", type=Path, help="keep HLO and what else the compilers write in this directory")
    parser.add_argument("--out", type=Path, help="also write the lines to this file, in place of its lines of the same")
    arguments = parser.parse_args()
    try:
        work = chosen(arguments)
    except InputError as error:
        print(f"compile.py: {error}", file=sys.stderr)
        sys.exit(2)
    failed, made = 0, versions()
    for program in work:
        try:
            line = made | program._asdict() | compiled(program, arguments.keep, bundles=not arguments.no_bundles)
        except subprocess.CalledProcessError as error:
            failed += 1
            line = made | program._asdict() | {"error": error.stderr.strip().splitlines()[-1:]}
            print(error.stderr, file=sys.stderr)
        print(json.dumps(line), flush=True)
        if arguments.out:
            keep_line(arguments.out, line)
    sys.exit(1 if failed else 0)


def chosen(arguments: argparse.Namespace) -> list[Program]:
    """List what is to be compiled.

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
            if name in arguments.case if arguments.case else arguments.only in name and target in case.targets:
                chips = case.chips if arguments.chips is None else arguments.chips
                check_chips(chips, target, what, name, case)
                work.append(Program(name, target, chips, arguments.plain))
    if not work:
        raise InputError(f"--only is {arguments.only!r}: no case of {', '.join(found)} has it in its name")
    if arguments.both:
        work += [one._replace(plain=True) for one in work if one.chips == 1 and not one.case.startswith("agent ")]
    return work


def check_chips(chips: int, target: str, what: targets.Target, name: str, case: Case) -> None:
    lanes = case.configurations * case.seeds
    if not 1 <= chips <= what.chips:
        raise InputError(f"--chips is {chips}: {target} has {what.chips}; allowed: 1 to {what.chips}")
    if lanes % chips:
        raise InputError(f"--chips is {chips}, which does not divide the {lanes} lanes of case {name!r}")


def compiled(program: Program, keep: Path | None, *, bundles: bool) -> dict[str, Any]:
    """Compile in a process of its own and return its line."""
    target = targets.TARGETS[program.target]
    with tempfile.TemporaryDirectory() as scratch:
        label = re.sub(r"\W+", "-", f"{program.target} {program.case}") + "-plain" * program.plain
        dumps = (keep or Path(scratch)).resolve() / label
        dumps.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, PROGRAM, "--compiler", target.compiler, "--dumps", dumps, "--for", program.target]
        command += ["--case", program.case, "--chips", str(program.chips), *["--plain"] * program.plain]
        variables = targets.environment(target, dumps, bundles=bundles)
        got = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        return json.loads(got.stdout.splitlines()[-1])


def keep_line(path: Path, line: dict[str, Any]) -> None:
    """Write a line in place of that of the same program; the others stay."""
    lines = [json.loads(old) for old in path.read_text().splitlines()] if path.exists() else []
    same = [tuple(old[name] for name in Program._fields) for old in lines]
    key = tuple(line[name] for name in Program._fields)
    place = same.index(key) if key in same else len(lines)
    lines[place : place + 1] = [line]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(one)}\n" for one in lines))


if __name__ == "__main__":
    main()
