"""Training: any pair, by one loop."""

from pyvae.training.fit import FitResult, fit

__all__ = ["FitResult", "fit"]
