"""Draw docs/packages.svg: the packages of jaxbandit, and which imports which.

An arrow that follows from others (a -> b -> c) is left out. Run: python docs/draw_packages.py
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
# name: centre, floor, what it is. `_core` is a bar below all others.
PLACES = {
    "cli": (450, 0, "the command line"),
    "vertex": (450, 1, "launcher and trainer for Vertex AI"),
    "policies": (450, 2, "a trained agent outside its run"),
    "experiments": (450, 3, "a config in, a directory out"),
    "reporting": (760, 4, "tables, pictures, TensorBoard"),
    "envs": (140, 5, "worlds"),
    "agents": (400, 5, "policies that learn"),
    "simulation": (760, 5, "one compiled program"),
    "data": (140, 6, "ratings in, factors out"),
    "types": (580, 6, "the interface"),
    "_core": (450, 7, "plumbing that knows no bandits"),
}
WIDTH, FLOOR, BOX, HEIGHT = 900, 78, 240, 46


def imports() -> set[tuple[str, str]]:
    """Pairs (importing package, imported package), read off the code."""
    arrows = set()
    for path in (ROOT / "jaxbandit").glob("*/**/*.py"):
        own = path.relative_to(ROOT / "jaxbandit").parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "jaxbandit":
                names = [node.module.split(".")[1]] if "." in node.module else [alias.name for alias in node.names]
                arrows |= {(own, name) for name in names if name != own}
    return arrows


def direct(arrows: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Arrows that do not follow from others."""

    def reaches(start: str, end: str, without: tuple[str, str]) -> bool:
        nexts = [b for a, b in arrows if a == start and (a, b) != without]
        return end in nexts or any(reaches(b, end, without) for b in nexts)

    return sorted(arrow for arrow in arrows if not reaches(*arrow, arrow))


def draw() -> str:
    """The picture as SVG."""
    height = 8 * FLOOR
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 L10 5 L0 10 z" fill="#64748b"/></marker></defs>',
        *(arrow(start, end) for start, end in direct(imports())),
        *(box(name) for name in PLACES),
    ]
    return "\n".join([*parts, "</svg>", ""])


def arrow(start: str, end: str) -> str:
    """One arrow, from the lower edge of a box to the upper edge of another."""
    (x1, floor1, _), (x2, floor2, _) = PLACES[start], PLACES[end]
    if end == "_core":
        x2 = x1
    y1, y2 = floor1 * FLOOR + 8 + HEIGHT, floor2 * FLOOR + 8
    bend = y1 + (FLOOR - HEIGHT) / 2
    path = (
        f"M{x1} {y1} C{x1} {bend:.0f} {x2} {bend:.0f} {x2} {y2}" if floor2 == floor1 + 1 else f"M{x1} {y1} L{x2} {y2}"
    )
    return f'<path d="{path}" fill="none" stroke="#64748b" stroke-width="1.5" marker-end="url(#tip)"/>'


def box(name: str) -> str:
    """One package."""
    (x, floor, words), width = PLACES[name], WIDTH - 40 if name == "_core" else BOX
    y = floor * FLOOR + 8
    return (
        f'<rect x="{x - width // 2}" y="{y}" width="{width}" height="{HEIGHT}" rx="8" '
        'fill="#f1f5f9" stroke="#334155"/>'
        f'<text x="{x}" y="{y + 20}" text-anchor="middle" font-size="16" font-weight="bold" '
        f'fill="#0f172a">{name}</text>'
        f'<text x="{x}" y="{y + 37}" text-anchor="middle" font-size="12" fill="#334155">{words}</text>'
    )


if __name__ == "__main__":
    (ROOT / "docs" / "packages.svg").write_text(draw())
