"""Checks of plain arguments: each says what was given and what was expected."""

from collections.abc import Sequence
from numbers import Integral, Real

import torch
from torch import Tensor, nn

from pyvae.errors import ArgumentError, DataError

__all__ = [
    "as_shape",
    "check_choice",
    "check_code_dtype",
    "check_int",
    "check_maker",
    "check_module",
    "check_positive",
    "check_seed",
]


def as_shape(shape: int | Sequence[int], name: str = "event_shape") -> torch.Size:
    """``shape`` as a ``torch.Size`` of at least one dimension, all of them positive.

    Raises:
        ArgumentError: if it is not.

    Example:
        >>> as_shape(3)
        torch.Size([3])
    """
    sizes = (shape,) if isinstance(shape, int) else shape
    try:
        result = torch.Size(sizes)
    except TypeError:
        result = torch.Size()
    if not result or min(result) < 1:
        raise ArgumentError(f"{name} is {shape!r}; expected a positive int or a sequence of them, such as (1, 28, 28)")
    return result


def check_int(name: str, value: object, minimum: int = 1) -> None:
    """Refuse anything but an int of at least ``minimum``.

    Raises:
        ArgumentError: naming the argument.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        kind = "a positive int" if minimum == 1 else f"an int of at least {minimum}"
        raise ArgumentError(f"{name} is {value!r}; expected {kind}")


def check_positive(name: str, value: object) -> None:
    """Refuse anything but a positive, finite number.

    Raises:
        ArgumentError: naming the argument.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < float("inf"):
        raise ArgumentError(f"{name} is {value!r}; expected a positive number")


def check_seed(seed: object) -> None:
    """Refuse anything but an int in [0, 2³²), the seeds that torch, numpy and Python all accept.

    Raises:
        ArgumentError: saying what came.
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed < 2**32:
        raise ArgumentError(f"seed is {seed!r}; expected an int in [0, 2**32)")


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Refuse anything but one of ``choices``.

    Raises:
        ArgumentError: naming the argument and the choices.
    """
    if value not in choices:
        raise ArgumentError(f"{name} is {value!r}; expected one of {', '.join(map(str, choices))}")


def check_code_dtype(codes: Tensor, num_codes: int) -> None:
    """Refuse codes that are not integers.

    Raises:
        DataError: saying what came.
    """
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise DataError(f"codes have dtype {codes.dtype}; expected integers in [0, {num_codes - 1}]")


def check_maker(name: str, make: object, of: str, example: str) -> None:
    """Refuse anything that does not make a component, a component itself included.

    Raises:
        ArgumentError: naming the argument, and an example.
    """
    if isinstance(make, nn.Module) or not callable(make):
        raise ArgumentError(f"{name} is {make!r}; expected what makes one from {of}, such as {example}")


def check_module(name: str, module: object) -> None:
    """Refuse anything but an instance of ``torch.nn.Module``.

    Raises:
        ArgumentError: naming the argument.
    """
    if not isinstance(module, nn.Module):
        kind = f"the class {module.__name__}" if isinstance(module, type) else f"a {type(module).__name__}"
        raise ArgumentError(f"{name} is {kind}; expected a torch.nn.Module")
