"""The tables of docs/rounds.md, from the JSON lines of rounds.py and of peers/linucb_peers.py."""

from speed_tables import Line, machine, read, spread, times

LEAST = {
    ("20 fixed arms", "gobrec"): 10,
    ("1,000 fixed arms", "gobrec"): 30,
    ("arms with features, batch 4,096", "C"): 1.5,
}


def peers() -> str:
    """A row for each peer in each world, with the number of threads that served it best."""
    lines = read("linucb_peers")
    ours = {line["case"]: line for line in lines if line["by"] == "jaxbandit"}
    first = next(iter(ours.values()))
    rows = []
    for case, mine in ours.items():
        rows.append([case, spread(mine), "", "", ""])
        others = [line for line in lines if line["case"] == case and line["by"] != "jaxbandit"]
        for by in dict.fromkeys(line["by"] for line in others):
            best = max((x for x in others if x["by"] == by), key=lambda line: line["interactions_per_second"])
            ratio = mine["interactions_per_second"] / best["interactions_per_second"]
            least = LEAST.get((case, by.split()[0]))
            goal = "" if least is None else f"{least} x, {'met' if ratio >= least else 'not met'}"
            rows.append(["", "", f"{by}{threads(best)} {spread(best)}", times(ratio), goal])
    return "\n".join(
        [
            f"On {machine(first)}, jax {first['jax']}, ratings `{first['ratings']}`, load of the machine "
            f"{loads(lines)}. Interactions per second, median (slowest – fastest) over turns.",
            "",
            "| world | jaxbandit | beside it | ratio | goal |",
            "|---|---:|---:|---:|---|",
            *(f"| {' | '.join(row)} |" for row in rows),
        ]
    )


def loads(lines: list[Line]) -> str:
    """Others were at work where this is above the number of cores."""
    return f"{min(x['load'] for x in lines):.0f} to {max(x['load'] for x in lines):.0f}"


def threads(line: Line) -> str:
    count = line.get("threads")
    return "" if count is None else f" ({count} thread{'s' if count > 1 else ''})"


def rounds() -> str:
    """A row for each agent, a column for each world: microseconds a round, and the slowest compilation."""
    lines = read("rounds")
    worlds = list(dict.fromkeys(line["env"] for line in lines))
    rows = []
    for agent in dict.fromkeys(line["agent"] for line in lines):
        mine = {line["env"]: line for line in lines if line["agent"] == agent}
        cells = [f"{mine[env]['microseconds']:,.0f}" if env in mine else "–" for env in worlds]
        rows.append([f"`{agent}`", *cells, f"{max(x['compile_seconds'] for x in mine.values()):.1f} s"])
    return "\n".join(
        [
            f"On {machine(lines[0])}, jax {lines[0]['jax']}, load of the machine {loads(lines)}: microseconds a round "
            f"of {lines[0]['batch_size']} users, one lane, defaults; median over stretches.",
            "",
            f"| agent | {' | '.join(f'`{env}`' for env in worlds)} | slowest compilation |",
            f"|---|{'---:|' * (len(worlds) + 1)}",
            *(f"| {' | '.join(row)} |" for row in rows),
        ]
    )
