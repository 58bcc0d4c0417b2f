"""cubicweb-leakwatch: finds, explains and contains the memory leaks of a CubicWeb instance.

This module imports nothing: the launcher, which must stay small, imports the package too.
"""
