"""Launcher, worker and drain: replaces workers without losing a request. Knows nothing of CubicWeb."""
