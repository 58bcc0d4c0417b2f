"""A cube that leaks as two real sites did: what cubicweb-leakwatch is shown at work on."""
