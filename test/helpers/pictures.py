"""``python pictures.py FROM TO``: the screenshots that the manual shows, made small enough for a repository."""

import sys
from pathlib import Path

from PIL import Image

SHOWN = ("dashboard", "chart-values", "findings", "restart-stages", "restart-done", "gc-scheduler")
COLOURS = 128
MAX_BYTES = 150_000
MAX_HEIGHT = 1250
"""Pixels: of a page its beginning, which a reader sees without scrolling through the manual."""


def make_small(source: Path, target: Path) -> int:
    """Write a picture with few colours, its lower end cut where it is very long; return its size in bytes."""
    with Image.open(source) as picture:
        cut = picture.convert("RGB").crop((0, 0, picture.width, min(picture.height, MAX_HEIGHT)))
        cut.quantize(COLOURS, Image.Quantize.FASTOCTREE).save(target, optimize=True)
    return target.stat().st_size


def main(source: Path, target: Path) -> int:
    """Make all of them; fail on one that is too big."""
    target.mkdir(parents=True, exist_ok=True)
    sizes = {name: make_small(source / f"{name}.png", target / f"{name}.png") for name in SHOWN}
    big = [f"{name}.png: {size} bytes" for name, size in sizes.items() if size > MAX_BYTES]
    print("\n".join(big), end="\n" if big else "")
    return 1 if big else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:3])))
