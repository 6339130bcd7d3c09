"""Tables for a terminal."""

from collections.abc import Collection, Sequence


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> list[str]:
    """Return one line a row, with columns two blanks apart.

    Args:
        rows: the first has a cell for each column. The last cell of a shorter one is free text, which no
            column has to hold.
        left: columns that are aligned to the left; all others are to the right.
    """
    columns = len(rows[0])
    held = [row if len(row) == columns else row[:-1] for row in rows]
    widths = [max(len(row[i]) for row in held if i < len(row)) for i in range(columns)]
    lines = []
    for row, cells in zip(rows, held):
        padded = [c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths))]
        lines.append("  ".join([*padded, *row[len(cells) :]]).rstrip())
    return lines
