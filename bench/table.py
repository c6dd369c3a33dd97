"""Figures as text that stands in a terminal and in Markdown alike."""

from collections.abc import Mapping, Sequence

from bench.plan import Figure


def table(rows: Sequence[Mapping[str, Figure]]) -> str:
    """One line for each row; the columns are the first row's."""
    names = list(rows[0])
    lines = [names, *([_shown(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    shown = ["| " + " | ".join(map(str.rjust, line, widths)) + " |" for line in lines]
    rule = "| " + " | ".join("-" * (width - 1) + ":" for width in widths) + " |"
    return "\n".join([shown[0], rule, *shown[1:]])


def side_by_side(rows: Mapping[str, Mapping[str, Figure]]) -> str:
    """One column for each row, under its name; one line for each of the first row's figures."""
    figures = next(iter(rows.values()))
    lines: list[dict[str, Figure]] = [
        {"figure": name, **{heading: row.get(name, "") for heading, row in rows.items()}}
        for name in figures
    ]
    return table(lines)


def listing(figures: Mapping[str, Figure]) -> str:
    """One line for each figure."""
    width = max(map(len, figures))
    return "\n".join(f"{name:<{width}}  {_shown(value)}" for name, value in figures.items())


def _shown(value: Figure) -> str:
    return f"{value:,.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
