"""What a person sees of an asset in the UI: pictures, tables, paths, and errors without a traceback."""

import base64
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from assets.building import message
from beyondmimic_data.errors import BeyondMimicError
from storage.artifacts import Artifact

terminal = logging.getLogger("beyondmimic.progress")

MAX_PICTURE_BYTES = 50_000
"""Pictures travel inside event records; larger ones make the UI slow."""
DIGITS = 4
"""Significant digits of a figure; files keep all of them."""
RECIPE = "recipe"
"""Metadata key that the sensors read to see what is materialised."""


def materialised(
    artifact: Artifact,
    metadata: Mapping[str, Any],
    *,
    recipe: str | None = None,
    version: str | None = None,
) -> dg.MaterializeResult:
    """Return the result that an asset reports for an artifact.

    Args:
        artifact: what was built or found.
        metadata: what a person should see.
        recipe: what the sensors compare, where it is not the artifact's own recipe.
        version: what children are built from, where it is not the artifact's own version.
    """
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version or artifact.version),
        metadata={
            **rounded(metadata),
            "folder": dg.MetadataValue.path(str(artifact.path)),
            RECIPE: recipe or artifact.recipe,
            "parents": dg.MetadataValue.json(artifact.meta.get("parents", [])),
        },
    )


def rounded(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata with numbers of ``DIGITS`` significant digits."""
    return {key: float(f"{v:.{DIGITS}g}") if isinstance(v, float) else v for key, v in metadata.items()}


def progress_of(context: dg.AssetExecutionContext) -> Callable[[str], None]:
    """Return where a builder's progress lines go: the run's log, and the terminal of `beyondmimic run`."""

    def line(text: str) -> None:
        context.log.info(text)
        terminal.info(text)

    return line


@contextlib.contextmanager
def plain_failures() -> Iterator[None]:
    """Show an error that a user can mend as one line, and do not try again by itself."""
    try:
        yield
    except BeyondMimicError as error:
        raise dg.Failure(description=message(error), allow_retries=False) from error


def picture(path: Path, *, width: int = 720) -> dg.MetadataValue:
    """Return a PNG as markdown, shrunk to at most ``MAX_PICTURE_BYTES``; a path where there is none."""
    if not path.is_file():
        return dg.MetadataValue.path(str(path))
    data, kind = path.read_bytes(), "png"
    if len(data) > MAX_PICTURE_BYTES:
        data, kind = _shrink(path, width), "jpeg"
    text = base64.b64encode(data).decode()
    return dg.MetadataValue.md(f"![{path.stem}](data:image/{kind};base64,{text})")


def table(rows: Sequence[Mapping[str, Any]]) -> dg.MetadataValue:
    """Return rows as a table with the columns of the first row."""
    columns = list(rows[0]) if rows else []
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    body = "\n".join(f"| {' | '.join(_cell(row.get(c)) for c in columns)} |" for row in rows)
    return dg.MetadataValue.md(head + body if rows else "nothing")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.{DIGITS}g}"
    return str("" if value is None else value).replace("|", "\\|").replace("\n", " ")


def _shrink(path: Path, width: int) -> bytes:
    """Return a picture as JPEG of at most ``MAX_PICTURE_BYTES``."""
    import io

    from PIL import Image

    with Image.open(path) as opened:
        image = opened.convert("RGB")
        while True:
            image.thumbnail((width, width))
            stream = io.BytesIO()
            image.save(stream, "JPEG", quality=70)
            if stream.tell() <= MAX_PICTURE_BYTES or width < 64:
                return stream.getvalue()
            width = width * 4 // 5
