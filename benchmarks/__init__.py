"""How fast pyvae trains and evaluates, beside hand-written loops and other libraries. Not part of the package."""
