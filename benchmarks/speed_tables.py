"""The README's section on speed, from the JSON lines of the benchmarks: no measured number is typed by hand."""

import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
MEMORY_GROWTH = 1.05  # of the resident peak, from the short run to the long one, that counts as constant

Line = dict[str, Any]


def read(name: str) -> list[Line]:
    return [json.loads(line) for line in (RESULTS / f"{name}.jsonl").read_text().splitlines()]


def find(lines: list[Line], **wanted: Any) -> Line:
    """Return the one line with these values."""
    matching = [line for line in lines if all(line.get(key) == value for key, value in wanted.items())]
    if len(matching) != 1:
        sys.exit(f"report.py: {len(matching)} lines with {wanted}; measure all cases again")
    return matching[0]


PEERS = [  # label, its short form, case of both sides, processes of TF-Agents (0: one for each core), least ratio
    ("batch 128", "batch 128", "reference", 1, 3000),
    ("64 values of alpha x 16 seeds = 1,024 lanes, batch 128", "1,024 lanes", "sweep", 0, 5000),
    ("neural epsilon-greedy, towers 64-32, batch 128", "neural", "neural", 1, 200),
]


def throughput() -> str:
    """A row for each promise about speed: what was measured, beside what, and whether the promise is kept."""
    ours, theirs = read("throughput"), read("peers")
    mine, peer = find(ours, case="reference", by="jaxbandit"), peer_of(theirs, "reference", 1, "trainer")
    if mine["ratings"] != peer["ratings"]:
        sys.exit(f"report.py: ratings are {mine['ratings']} here and {peer['ratings']} in peers; measure one again")
    one, *others = (against_peer(ours, theirs, *case) for case in PEERS)
    rows = [one, against_numpy(ours), *others, wide(ours, theirs), *limits(ours)]
    lines = [
        f"jaxbandit on {machine(mine)}, jax {mine['jax']}, NumPy {mine['numpy']}; {peer['by']}, TensorFlow "
        f"{peer['tensorflow']}, on {machine(peer)}. Ratings `{mine['ratings']}`, factoriser `svd`, rank 20, 20 arms, "
        "LinUCB on concatenated features where nothing else is said, metrics on. Rates are interactions (served users) "
        "per second over all lanes: median (slowest – fastest).",
        "",
        "| case | jaxbandit | beside it | ratio | target | |",
        "|---|---:|---:|---:|---:|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        bare_loops(ours, theirs),
    ]
    return "\n".join(lines)


def peer_of(theirs: list[Line], case: str, processes: int, loop: str) -> Line:
    wanted = {"case": "reference" if case == "sweep" else case, "loop": loop}
    return find(theirs, **wanted, processes=processes or max(line["processes"] for line in theirs))


def against_peer(
    ours: list[Line], theirs: list[Line], label: str, short: str, case: str, processes: int, target: int
) -> list[str]:
    mine, peer = find(ours, case=case, by="jaxbandit"), peer_of(theirs, case, processes, "trainer")
    several = "" if processes == 1 else f", {peer['processes']} processes"
    return compared(label, mine, peer, f"TF-Agents{several}", target)


def against_numpy(ours: list[Line]) -> list[str]:
    mine, loop = (find(ours, case="batch 4096", by=by) for by in ("jaxbandit", "NumPy loop"))
    return compared("batch 4,096", mine, loop, "NumPy loop", 10)


def compared(label: str, mine: Line, other: Line, name: str, target: int) -> list[str]:
    ratio = mine["interactions_per_second"] / other["interactions_per_second"]
    return [label, spread(mine), f"{name} {rate(other)}", times(ratio), f"{target:,} x", kept(ratio >= target)]


def wide(ours: list[Line], theirs: list[Line]) -> list[str]:
    mine, peer = find(ours, case="wide", by="jaxbandit"), peer_of(theirs, "wide", 1, "trainer")
    million = mine["compile_seconds"] + 1e6 / mine["interactions_per_second"]
    hours = 1e6 / peer["interactions_per_second"] / 3600
    ratio = mine["interactions_per_second"] / peer["interactions_per_second"]
    label = "1,000,000 interactions, 200 user and 50 arm features, 10 arms, batch 1,000"
    beside = f"TF-Agents {hours:.1f} h at {rate(peer)}"
    return [label, f"{million:.1f} s with compilation", beside, times(ratio), "15 s", kept(million < 15)]


def limits(ours: list[Line]) -> list[list[str]]:
    """Rows of what has an upper bound and no peer."""
    programs, start, again = find(ours, case="compile"), *(line for line in ours if line["case"] == "start")
    short, long = sorted((line for line in ours if line["case"] == "memory"), key=lambda line: line["rounds"])
    compile_seconds, start_seconds = programs["slowest_seconds"], start["first_chunk_seconds"]
    small = long["resident_gb"] < 1.5 and long["resident_gb"] <= MEMORY_GROWTH * short["resident_gb"]
    return [
        bounded(f"compilation, slowest linear agent ({programs['slowest']})", compile_seconds, 3),
        bounded(
            "`jaxbandit run` until its first chunk is done",
            start_seconds,
            8,
            beside=f"{again['first_chunk_seconds']:.1f} s with a filled cache",
        ),
        [
            f"resident peak, {long['lanes']:,} lanes, batch {long['batch_size']}",
            f"{long['resident_gb']:.2f} GB at {long['rounds']:,} rounds",
            f"{short['resident_gb']:.2f} GB at {short['rounds']:,} rounds",
            "",
            "1.5 GB, constant",
            kept(small),
        ],
    ]


def bounded(label: str, seconds: float, target: int, beside: str = "") -> list[str]:
    return [label, f"{seconds:.2f} s", beside, "", f"{target} s", kept(seconds < target)]


def bare_loops(ours: list[Line], theirs: list[Line]) -> str:
    """The same comparison with TF-Agents at its best."""
    ratios = []
    for _, short, case, processes, _ in PEERS:
        mine, peer = find(ours, case=case, by="jaxbandit"), peer_of(theirs, case, processes, "bare")
        ratios.append(f"{short} {times(mine['interactions_per_second'] / peer['interactions_per_second'])}")
    loop, lints = find(ours, case="reference", by="NumPy loop"), find(ours, case="lints")
    return (
        "TF-Agents runs under the trainer that comes with it, which writes summaries and checkpoints. Against the "
        f"barest loop around its driver, replay buffer and agent the ratios are: {', '.join(ratios)}. Without a "
        f"target, at batch 128: LinTS {rate(lints)}, the NumPy loop {rate(loop)}."
    )


SERIES = {
    "configurations": "configurations of one seed",
    "seeds": "seeds of one configuration",
    "devices": "virtual devices",
    "batch_size": "users in a batch",
    "num_actions": "arms",
    "rank_k": "features of each side",
    "items": "items",
}


def scaling() -> str:
    """The picture, and the ends of its curves in words."""
    lines, costs = read("scaling"), []
    for series, name in SERIES.items():
        first, *_, last = (line for line in lines if line["series"] == series)
        factor = first["interactions_per_second"] / last["interactions_per_second"]
        costs.append(f"{first['value']:,} → {last['value']:,} {name} {factor:.2g} x")
    about = "Interactions per second against lanes, devices, batch, arms, rank and catalogue"
    return (
        f"![{about}](benchmarks/results/scaling.png)\n\n"
        f"Cost of a lane-interaction at the larger end over that at the smaller: {', '.join(costs)}. Virtual devices "
        f"are devices in name only: all of them share {lines[0]['cpus']} cores."
    )


def roofline() -> str:
    """A row for each case: counts, the least time that the machine's peaks allow, and the time it took."""
    lines = read("roofline")
    peak = find(lines, case="peaks")
    memory, cache = (peak[f"{place}_bytes_per_second"] / 1e9 for place in ("memory", "cache"))
    rows = [
        f"The machine's peaks, measured from JAX: {peak['flops_per_second'] / 1e9:.0f} GFLOP/s (float32 matrix "
        f"product), {memory:.1f} GB/s (triad from memory), {cache:.0f} GB/s (triad in the cache of a core). Operations "
        "(floating-point ones, and integer ones of the random draws) and bytes are those of one lane-interaction, "
        "counted by hand from the shapes; in brackets XLA's own count, which takes the body of a loop once.",
        "",
        "| case | operations | bytes | least time | bound by | time | times the least |",
        "|---|---:|---:|---:|---|---:|---:|",
    ]
    for case, label in (("reference", "batch 128"), ("batch 4096", "batch 4,096"), ("sweep", "1,024 lanes, batch 128")):
        line = find(lines, case=case)
        hand, xla, bound = line["by_hand"], line["by_xla"], line["bound"]
        cells = [
            label,
            f"{hand['flops'] + hand['integers']:,.0f} ({xla['flops']:,.0f})",
            f"{hand['bytes']:,.0f} ({xla['bytes']:,.0f})",
            f"{line['least_seconds'][bound] * 1e6:.3f} µs",
            {"compute": "arithmetic", "bytes": f"bytes from {line['held_in']}"}[bound],
            f"{line['seconds'] * 1e6:.2f} µs",
            f"{line['times_the_bound']:.1f}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def machine(line: Line) -> str:
    return f"{line['device']} ({line['cpus']} cores, {line['machine']}), Python {line['python']}"


def rate(line: Line) -> str:
    return f"{line['interactions_per_second']:,.0f}/s"


def spread(line: Line) -> str:
    return f"{rate(line)} ({line['slowest']:,.0f} – {line['fastest']:,.0f})"


def times(ratio: float) -> str:
    return f"{ratio:,.0f} x" if ratio >= 100 else f"{ratio:.1f} x"


def kept(is_kept: bool) -> str:
    return "met" if is_kept else "not met"
