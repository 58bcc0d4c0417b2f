"""The part of leakwatch inside a process: answers questions about it over a Unix socket. Knows nothing of CubicWeb."""
