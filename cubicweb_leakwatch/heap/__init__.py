"""What one process's heap holds: counts, cycles, holders, sizes. Knows nothing of CubicWeb."""
