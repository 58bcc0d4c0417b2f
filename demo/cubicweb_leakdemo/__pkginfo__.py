"""What CubicWeb and the build need to know of the demo's cube."""

modname = "cubicweb_leakdemo"
distname = "cubicweb-leakdemo"

numversion = (0, 1, 0)
version = ".".join(str(num) for num in numversion)

license = "LGPL"
author = "the leakwatch maintainers"
description = "leaks as two real sites did, to see cubicweb-leakwatch at work"
web = "https://www.cubicweb.org/project/cubicweb-leakwatch"

__depends__ = {
    "cubicweb": ">= 5.0.1, < 6",
    "cubicweb-web": ">= 1.6.2, < 2",
    "cubicweb-leakwatch": None,
}
