"""The figures of an instance's processes for monitoring systems: gathered, named, and written in their formats.

Knows nothing of CubicWeb, and opens no database: the processes and the launcher are asked themselves.
"""
