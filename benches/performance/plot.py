"""The ratios as a plot, for people who look before they read."""

from html import escape

from modes import Mode
from report import Results

ROW, LEFT, WIDTH, RIGHT, TOP, BOTTOM = 34, 270, 520, 60, 64, 40
MOST = 1.3
COLOURS = {"wall": "#2f6f9f", "cpu": "#c98a2b"}
NAMES = {"wall": "wall time", "cpu": "client CPU"}


def svg(results: Results, modes: list[Mode]) -> str:
    """Two bars for each mode, with the range of the single rounds and a mark for what is aimed at."""
    shown = [mode for mode in modes if results.has(mode.key)]
    height = TOP + ROW * len(shown) + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + RIGHT} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="100%" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="20" font-size="14">pgsiphon by pg_basebackup: less is better</text>',
        *legend(),
        *grid(height),
    ]
    for number, mode in enumerate(shown):
        top = TOP + ROW * number
        parts.append(f'<text x="{LEFT - 8}" y="{top + 19}" text-anchor="end">{plain_text(mode.name)}</text>')
        parts += bar(results, mode, "wall", mode.target.wall, top + 4)
        parts += bar(results, mode, "cpu", mode.target.cpu, top + 17)
    return "\n".join([*parts, "</svg>", ""])


def bar(results: Results, mode: Mode, figure: str, target: float | None, top: int) -> list[str]:
    ratio, spread = results.ratio(mode.key, figure), results.spread(mode.key, figure)
    if ratio is None or spread is None:
        return []
    middle = top + 5
    parts = [
        f'<rect x="{LEFT}" y="{top}" width="{across(ratio):.1f}" height="10" fill="{COLOURS[figure]}"/>',
        line(LEFT + across(spread[0]), middle, LEFT + across(spread[1]), middle, "#222222", 1),
        f'<text x="{LEFT + across(max(ratio, spread[1])) + 5:.1f}" y="{middle + 4}" font-size="10">{ratio:.2f}</text>',
    ]
    if target:
        parts.append(line(LEFT + across(target), top - 1, LEFT + across(target), top + 11, "#b0233a", 2))
    return parts


def legend() -> list[str]:
    parts = []
    for number, figure in enumerate(COLOURS):
        left = LEFT + 130 * number
        parts.append(f'<rect x="{left}" y="30" width="10" height="10" fill="{COLOURS[figure]}"/>')
        parts.append(f'<text x="{left + 15}" y="39">{NAMES[figure]}</text>')
    left = LEFT + 260
    parts.append(line(left + 5, 29, left + 5, 41, "#b0233a", 2))
    parts.append(f'<text x="{left + 15}" y="39">aim</text>')
    parts.append(line(left + 60, 35, left + 85, 35, "#222222", 1))
    parts.append(f'<text x="{left + 92}" y="39">single rounds</text>')
    return parts


def grid(height: int) -> list[str]:
    parts = []
    for tenths in range(0, int(MOST * 10) + 1, 2):
        left = LEFT + across(tenths / 10)
        colour = "#444444" if tenths == 10 else "#dddddd"
        parts.append(line(left, TOP, left, height - BOTTOM, colour, 1))
        parts.append(f'<text x="{left:.1f}" y="{height - BOTTOM + 16}" text-anchor="middle">{tenths / 10:.1f}</text>')
    return parts


def line(x1: float, y1: float, x2: float, y2: float, colour: str, width: int) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'
    )


def across(ratio: float) -> float:
    return min(ratio, MOST) / MOST * WIDTH


def plain_text(markdown: str) -> str:
    return escape(markdown.replace("`", ""))
