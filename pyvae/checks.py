"""Checks of plain arguments: each says what came and what was expected."""

from numbers import Integral, Real

from torch import nn

from pyvae.errors import ArgumentError

__all__ = ["check_int", "check_module", "check_positive", "check_seed"]


def check_int(name: str, value: object, minimum: int = 1) -> None:
    """Refuse what is no int of at least ``minimum``.

    Raises:
        ArgumentError: naming the argument.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        kind = "a positive int" if minimum == 1 else f"an int of at least {minimum}"
        raise ArgumentError(f"{name} is {value!r}; expected {kind}")


def check_positive(name: str, value: object) -> None:
    """Refuse what is no positive, finite number.

    Raises:
        ArgumentError: naming the argument.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < float("inf"):
        raise ArgumentError(f"{name} is {value!r}; expected a positive number")


def check_seed(seed: object) -> None:
    """Refuse what is no int in [0, 2³²), which is what torch, numpy and Python take alike.

    Raises:
        ArgumentError: saying what came.
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed < 2**32:
        raise ArgumentError(f"seed is {seed!r}; expected an int in [0, 2**32)")


def check_module(name: str, module: object) -> None:
    """Refuse what is no instance of ``torch.nn.Module``.

    Raises:
        ArgumentError: naming the argument.
    """
    if not isinstance(module, nn.Module):
        kind = f"the class {module.__name__}" if isinstance(module, type) else f"a {type(module).__name__}"
        raise ArgumentError(f"{name} is {kind}; expected a torch.nn.Module")
