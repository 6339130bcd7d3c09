"""Saving figures: PNG files small enough for a web page to embed, made without a display or global state."""

import io
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from beyondmimic_data.files import write_bytes

COLOURS = 64
"""Colours of a picture's palette; few keep it under the size that a web page embeds."""


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG with a small palette; equal figures give equal bytes."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    stream = io.BytesIO()
    picture.quantize(COLOURS).save(stream, "PNG", optimize=True)
    write_bytes(path, stream.getvalue())
