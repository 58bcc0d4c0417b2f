"""Makes a CubicWeb instance, serves it with ``leak-serve``, loads it and tells what leakwatch found."""
