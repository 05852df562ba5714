"""The README's parts on how well agents do, from the JSON lines of agents.py, growth.py and published/wheel.py."""

from typing import Any

from speed_tables import Line, machine, read


def all_agents() -> str:
    """A row for each run of agents.py, the better ones first, and by what margin all of them beat uniform."""
    lines = read("agents")
    first = lines[0]
    equal, timed = first["equal_interactions"], max(line["equal_seconds"]["seconds"] for line in lines)
    text = [
        f"Regret of the last tenth, uniform = 100, mean ± standard error of {first['seeds']} seeds, side by side; "
        f"batch {first['batch_size']}, `als` on `synth-100k`, every agent at its defaults where nothing is said, on "
        f"{machine(first)}. After {equal['interactions']:,} interactions of each seed, and after up to {timed:.0f} "
        "seconds (of all seeds together, without compilation; agents that cost next to nothing stop at twenty times as "
        "many interactions).",
        "",
        "| world | agent | equal interactions | seconds | equal seconds | interactions |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for env in dict.fromkeys(line["env"] for line in lines):
        mine = [line for line in lines if line["env"] == env]
        text += [row(line) for line in sorted(mine, key=lambda line: line["equal_interactions"]["regret"])]
    worst = {line["env"]: upper(line) for line in sorted(lines, key=upper)}
    margins = ", ".join(f"{regret:.0f} in `{env}`" for env, regret in sorted(worst.items()))
    text += ["", f"Highest regret of any after equal interactions, two standard errors added: {margins}."]
    return "\n".join(text)


def row(line: Line) -> str:
    equal, timed = line["equal_interactions"], line["equal_seconds"]
    cells = (
        f"`{line['env']}`",
        line["label"],
        percent(equal),
        f"{equal['seconds']:.1f}",
        percent(timed),
        f"{timed['interactions']:,}",
    )
    return f"| {' | '.join(cells)} |"


def percent(value: dict[str, Any]) -> str:
    return f"{value['regret']:.2f} ± {value['stderr']:.2f}"


def upper(line: Line) -> float:
    return line["equal_interactions"]["regret"] + 2 * line["equal_interactions"]["stderr"]


def wheel() -> str:
    """Ours beside the published numbers, a row for each agent."""
    lines = read("wheel")
    deltas = sorted({line["delta"] for line in lines})
    text = [
        f"Cumulative regret in the wheel bandit, {lines[0]['contexts']:,} contexts, an update after each, uniform = "
        "100: mean ± standard error (seeds).",
        "",
        f"| | {' | '.join(f'δ = {delta:g}' for delta in deltas)} |",
        f"|---|{'---:|' * len(deltas)}",
    ]
    for agent in dict.fromkeys(line["agent"] for line in lines):
        mine = {line["delta"]: line for line in lines if line["agent"] == agent}
        text.append(f"| {agent} | {' | '.join(cell(mine.get(delta)) for delta in deltas)} |")
    quoted = {line["delta"]: line for line in lines if line["published"] is not None}
    cells = [
        f"{quoted[delta]['published']:.2f} ± {quoted[delta]['published_stderr']:.2f} (50)" if delta in quoted else ""
        for delta in deltas
    ]
    text += [f"| *NeuralLinear, published* | {' | '.join(cells)} |", "", " ".join(map(verdict, quoted.values()))]
    return "\n".join(text)


def cell(line: Line | None) -> str:
    return "" if line is None else f"{line['regret']:.2f} ± {line['stderr']:.2f} ({line['seeds']})"


def verdict(line: Line) -> str:
    """Compare with the published number: two standard errors of the difference decide."""
    difference = line["regret"] - line["published"]
    errors = difference / (line["stderr"] ** 2 + line["published_stderr"] ** 2) ** 0.5
    word = "worse" if errors > 2 else "better" if errors < -2 else "the same within two standard errors"
    return f"{line['agent']} at δ = {line['delta']:g} is {word} ({errors:+.1f} combined standard errors)."


def growth() -> str:
    """The exponents beside the picture."""
    lines = read("growth")
    worlds = dict.fromkeys(line["world"].split(":")[0] for line in lines)
    parts = []
    for world in worlds:
        mine = [line for line in lines if line["world"].startswith(f"{world}:")]
        parts.append(f"`{world}`: " + ", ".join(f"{x['agent']} {x['exponent']:.2f} ± {x['stderr']:.2f}" for x in mine))
    how = f"{lines[0]['rounds']:,} rounds of one user, {lines[0]['seeds']} seeds"
    text = f"Growth exponents ({how}) in {'; in '.join(parts)}."
    return f"![Cumulative regret in linear worlds](benchmarks/results/growth.png)\n\n{text}"
