"""cubicweb-leakwatch: finds, explains and contains the memory leaks of a CubicWeb instance.

This module imports nothing: the launcher, which must stay small, imports the package too.
"""


def includeme(config) -> None:  # type: ignore[no-untyped-def] # a type from pyramid would be an import
    """Add the cube to a web application; CubicWeb calls it while it makes one."""
    from cubicweb_leakwatch import routes

    routes.includeme(config)
