"""A line of numbers as a line of blocks."""

from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Return ``values`` as at most ``width`` blocks, the lowest value the lowest block; of each stretch the highest."""
    if not values:
        return ""
    size = -(-len(values) // width)
    peaks = [max(values[index : index + size]) for index in range(0, len(values), size)]
    low, high = min(peaks), max(peaks)
    span = high - low
    return "".join(BLOCKS[int((value - low) / span * (len(BLOCKS) - 1)) if span else 0] for value in peaks)
