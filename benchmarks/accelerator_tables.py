"""The tables of docs/accelerators.md, from the JSON lines of accelerators/compile.py and, where a card was measured,
of accelerators/gpu_check.py.
"""

import json
from typing import Any

from speed_tables import RESULTS, Line, read

MODEL = "Compiler's model, not measured"
AGENT = "agent "


def programs(target: str, *, plain: bool = False) -> dict[str, Line]:
    """Lines of one target by case, in the order of the file; those of one code."""
    return {
        x["case"]: x for x in read("accelerators") if x["target"] == target and x["plain"] == plain and "error" not in x
    }


def tpu() -> str:
    """A row for each case on each topology that is no agent's."""
    rows, by = [], ""
    for target in ("v5e:2x2", "v5e:4x4", "v6e:2x2"):
        plain = programs(target, plain=True)
        for case, line in programs(target).items():
            if not case.startswith(AGENT):
                by = line["by"]
                beside = plain_rate(plain.get(case))
                rows.append(cells(case, target, *tpu_cells(line), beside, *common(line)))
    text = [
        f"{MODEL} ({by.split(': ')[-1]}, loops multiplied out). Of a round on one chip: cycles by its estimates, in "
        "brackets those of them that are counted from final bundles because the compiler has no estimate (gathers, "
        "Pallas kernels); bundles of all operations; operations; million lane-interactions a second on each chip by "
        "cycles and by bundles, and by cycles with the plain code.",
        "",
        "| case | target | chips | cycles (from bundles) | bundles | operations | M/s by cycles | M/s by bundles "
        "| M/s, plain code | collectives | MB | compile | dearest |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|",
        *rows,
        "",
        against_one_chip(),
    ]
    return "\n".join(text)


def tpu_cells(line: Line) -> tuple[str, ...]:
    return (
        str(line["chips"]),
        f"{line['cycles_per_round']:,} ({line['of_them_counted_from_bundles']:,})",
        f"{line['bundles_per_round']:,}",
        f"{line['kernels_per_round']:,}",
        *tpu_rates(line),
    )


def tpu_rates(line: Line) -> tuple[str, str]:
    rate = line["lane_interactions_per_second_per_chip"]
    return mega(rate), mega(rate * line["cycles_per_round"] / max(1, line["bundles_per_round"]))


def plain_rate(line: Line | None) -> str:
    return mega(line["lane_interactions_per_second_per_chip"]) if line else ""


def common(line: Line) -> tuple[str, ...]:
    return (
        str(len(line["collectives_in_loop"])),
        f"{line['megabytes']['temporary'] + line['megabytes']['arguments']:,.0f}",
        f"{line['compile_seconds']:.0f} s",
        dearest(line),
    )


def dearest(line: Line) -> str:
    """The line of ours that the dearest operation comes from, with its share."""
    unit, total = ("us", "us_per_round") if "graphs_per_round" in line else ("cycles", "cycles_per_round")
    first = line["dearest"][0]
    place = first["source"][0].removeprefix("jaxbandit/") if first["source"] else first["name"]
    return f"`{place}` {first[unit] / line[total]:.0%}"


def against_one_chip() -> str:
    """Rates of several chips over that of one, for the same lanes."""
    parts = []
    one = programs("v5e:2x2").get("linucb concat 64x16")
    for target in ("v5e:2x2", "v5e:4x4"):
        for case, line in programs(target).items():
            if one and case.startswith("linucb concat 64x16 ") and line["chips"] > 1:
                by = (f"{one[name] / line[name]:.1f} x" for name in ("cycles_per_round", "bundles_per_round"))
                parts.append(f"{line['chips']} chips {' and '.join(by)}")
    return (
        f"{MODEL}: the same {one['lanes'] if one else 0:,} lanes on several v5e chips against one, "
        f"by cycles and by bundles: {', '.join(parts)}."
    )


def gpu() -> str:
    """A row for each case that is no agent's."""
    plain, rows, by = programs("h100", plain=True), [], ""
    for case, line in programs("h100").items():
        if case.startswith(AGENT):
            continue
        by, other = line["by"], plain.get(case)
        beside = [f"{other['kernels_per_round']:,}", f"{other['us_per_round']:,.0f}"] if other else ["", ""]
        rows.append(cells(case, *gpu_cells(line), *beside, *common(line)[1:]))
    text = [
        f"{MODEL} (H100, {by.split(': ')[-1]}). Kernels of a round are counted in the compiled program; microseconds "
        "are estimated from these counts and the bytes that kernels touch, with 2.5 µs for a kernel in a stream, 1 µs "
        "in a graph, 6 µs for a graph and 15 µs for each wait of the host.",
        "",
        "| case | kernels | outside graphs | graphs | host waits | µs | M lane-interactions/s | kernels, plain code "
        "| µs, plain code | MB | compile | dearest |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|",
        *rows,
    ]
    return "\n".join(text)


def gpu_cells(line: Line) -> tuple[str, ...]:
    names = ("kernels_per_round", "outside_graphs", "graphs_per_round", "host_waits_per_round", "us_per_round")
    return *(f"{line[name]:,.0f}" for name in names), mega(line["lane_interactions_per_second_per_chip"])


GOALS = [  # target, case, what is asked of it, least or most, what it was before any code was a platform's own
    ("v5e:2x2", "linucb concat 64x16", "M/s", 120, 22),
    ("v5e:2x2", "linucb concat 1x1 batch 4096", "M/s", 10, 1.7),
    ("v5e:4x4", "linucb concat 64x16 16 chips", "times one chip", 11, 5.7),
    *(
        ("v5e:2x2", f"{AGENT}{name}", "M/s", 5 * before, before)
        for name, before in (
            ("neural-ucb", 0.62),
            ("neural-ts", 0.62),
            ("neural-ensemble-ts", 0.94),
            ("neural-linucb", 1.21),
            ("sliding-window-linucb", 3.53),
        )
    ),
    ("h100", "linucb concat 64x16", "kernels", 60, 210),
    ("h100", "linucb concat 64x16", "µs", 200, 641),
    ("h100", "linucb concat 1x1", "µs", 70, 472),
    ("h100", "linucb outer 8x8", "kernels", 80, 1465),
]


def goals() -> str:
    """A row for each goal: whether the compilers' models say that it is met."""
    rows = []
    for target, case, what, goal, before in GOALS:
        line = programs(target)[case]
        if what == "M/s":
            now = line["lane_interactions_per_second_per_chip"] / 1e6
        elif what == "times one chip":
            now = programs("v5e:2x2")["linucb concat 64x16"]["cycles_per_round"] / line["cycles_per_round"]
        else:
            now = line["kernels_per_round" if what == "kernels" else "us_per_round"]
        least = what in ("M/s", "times one chip")
        kept = "met" if (now >= goal if least else now <= goal) else "not met"
        bound = f"{'at least' if least else 'at most'} {goal:,.3g} {what}"
        shown = f"{now:,.0f}" if now >= 100 else f"{now:.3g}"
        rows.append(cells(case.removeprefix(AGENT), target, f"{before:,g}", shown, bound, kept))
    text = [
        f"{MODEL}; TPUs by cycles.",
        "",
        "| case | target | at first | now | goal | |",
        "|---|---|---:|---:|---|---|",
    ]
    return "\n".join([*text, *rows])


def agents() -> str:
    """A row for each agent, in the first world that takes it."""
    chip, card = programs("v5e:2x2"), programs("h100")
    rows = []
    for case in (case for case in {**chip, **card} if case.startswith(AGENT)):
        one, other = chip.get(case), card.get(case)
        line = one or other or {}
        tpu = (f"{one['cycles_per_round']:,}", *tpu_rates(one), dearest(one)) if one else ("",) * 4
        mine = [gpu_cells(other)[i] for i in (0, 1, 4, 5)] if other else [""] * 4
        rows.append(cells(case.removeprefix(AGENT), f"`{line['env']}`", *tpu, *mine))
    first = next(line for case, line in {**chip, **card}.items() if case.startswith(AGENT))
    text = [
        f"{MODEL}: every agent at its defaults, {first['rows'][1]} configurations x {first['rows'][0]} seeds, batch "
        f"{first['batch_size']}, in the first world that takes it; on one v5e chip and on an H100.",
        "",
        "| agent | world | v5e: cycles | M/s by cycles | M/s by bundles | dearest | H100: kernels | outside graphs "
        "| µs | M/s |",
        "|---|---|---:|---:|---:|---|---:|---:|---:|---:|",
        *rows,
    ]
    return "\n".join(text)


def measured() -> str:
    """What a real card did beside what was predicted, if there was one."""
    path = RESULTS / "gpu_check.jsonl"
    if not path.exists():
        return "No card has been measured yet."
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    rates = [line for line in lines if line["section"] == "rates" and "error" not in line]
    kernels = {line["case"]: line["kernels_per_round"] for line in lines if line["section"] == "profile"}
    rows = []
    for line in rates:
        guess = line["predicted"]
        rows.append(
            cells(
                line["case"],
                f"{line['us_per_round']:,.0f}",
                f"{guess['us_per_round']:,.0f}" if guess else "",
                f"{kernels[line['case']]:,.0f}" if line["case"] in kernels else "",
                f"{guess['kernels_per_round']:,}" if guess else "",
                mega(line["interactions_per_second"]),
                f"{line['compile_seconds']:.1f} s",
            )
        )
    text = [
        f"Measured on one {rates[0]['device']}, jax {rates[0]['jax']}; columns in italics: the compiler's model.",
        "",
        "| case | µs a round | *µs* | kernels a round | *kernels* | M lane-interactions/s | compile |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *rows,
    ]
    return "\n".join(text)


def mega(rate: float) -> str:
    return f"{rate / 1e6:,.2f}" if rate < 1e7 else f"{rate / 1e6:,.0f}"


def cells(*texts: Any) -> str:
    return f"| {' | '.join(map(str, texts))} |"
