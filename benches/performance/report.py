"""Medians and ratios of what was measured, as a table and as JSON."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from modes import Mode

OURS, ORIGINAL, FLOOR = "pgsiphon", "original", "floor"


@dataclass
class Results:
    """All runs of all modes, in the order in which they were made."""

    description: dict[str, str]
    runs: list[dict] = field(default_factory=list)

    def add(self, mode: str, round_number: int, who: str, figures: dict) -> None:
        self.runs.append({"mode": mode, "round": round_number, "who": who, **figures})

    def has(self, mode: str) -> bool:
        return any(run["mode"] == mode for run in self.runs)

    def values(self, mode: str, who: str, figure: str) -> list[float]:
        return [run[figure] for run in self.runs if (run["mode"], run["who"]) == (mode, who) and figure in run]

    def median(self, mode: str, who: str, figure: str) -> float | None:
        values = self.values(mode, who, figure)
        return median(values) if values else None

    def ratio(self, mode: str, figure: str) -> float | None:
        """What is ours by what is the original's."""
        ours, original = self.median(mode, OURS, figure), self.median(mode, ORIGINAL, figure)
        return ours / original if ours is not None and original else None

    def spread(self, mode: str, figure: str) -> tuple[float, float] | None:
        """The least and the greatest ratio of single rounds: one within that range of 1 says little."""
        pairs = zip(self.values(mode, OURS, figure), self.values(mode, ORIGINAL, figure))
        ratios = [ours / original for ours, original in pairs if original]
        return (min(ratios), max(ratios)) if ratios else None

    def write_json(self, path: Path) -> None:
        """One line for each run, so that two files can be compared."""
        lines = ",\n    ".join(json.dumps(run) for run in self.runs)
        description = json.dumps(self.description, indent=2).replace("\n", "\n  ")
        path.write_text(f'{{\n  "description": {description},\n  "runs": [\n    {lines}\n  ]\n}}\n')


def table(results: Results, modes: list[Mode]) -> str:
    """The figures of each mode in Markdown; a cell is ours / original = ratio, and what is aimed at."""
    lines = [
        "| mode | wall, s | single rounds | client CPU, s | peak memory, MiB | bytes | floor: wall, CPU |",
        "|---|---|---|---|---|---|---|",
    ]
    for mode in modes:
        if not results.has(mode.key):
            continue
        least, most = results.spread(mode.key, "wall") or (0, 0)
        size = results.ratio(mode.key, "bytes")
        cells = [
            mode.name,
            cell(results, mode.key, "wall", 2, 1, mode.target.wall),
            f"{least:.2f}–{most:.2f}",
            cell(results, mode.key, "cpu", 2, 1, mode.target.cpu),
            cell(results, mode.key, "memory", 0, 1024, None),
            f"{size:.3f}" if size else "",
            floor_cell(results, mode.key),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(results: Results, mode: str, figure: str, digits: int, unit: int, target: float | None) -> str:
    ours, original = results.median(mode, OURS, figure), results.median(mode, ORIGINAL, figure)
    if ours is None or original is None:
        return ""
    text = f"{ours / unit:.{digits}f} / {original / unit:.{digits}f}"
    if original:
        text += f" = **{ours / original:.2f}**"
    return text + (f" (≤ {target:.2f})" if target else "")


def floor_cell(results: Results, mode: str) -> str:
    wall, cpu = results.median(mode, FLOOR, "wall"), results.median(mode, FLOOR, "cpu")
    return f"{wall:.2f}, {cpu:.2f}" if wall is not None and cpu is not None else ""
