"""What CubicWeb and the build need to know of the cube; the version lives here and nowhere else."""

modname = "cubicweb_leakwatch"
distname = "cubicweb-leakwatch"

numversion = (0, 2, 0)
version = ".".join(str(num) for num in numversion)

license = "LGPL"
author = "the leakwatch maintainers"
description = "finds, explains and contains the memory leaks of a CubicWeb instance"
web = "https://www.cubicweb.org/project/cubicweb-leakwatch"

__depends__ = {
    "cubicweb": ">= 5.0.1, < 6",
    "cubicweb-web": ">= 1.6.2, < 2",
}
