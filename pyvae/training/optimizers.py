"""The optimizer and the learning-rate schedule that factories make."""

from collections.abc import Sequence
from functools import partial

import torch
from pyro.optim import PyroOptim
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from pyvae.core.arguments import check_choice
from pyvae.errors import RUN_ERRORS, ArgumentError
from pyvae.training import schedules

__all__ = ["make_optimizer", "make_schedule"]


def make_optimizer(optimizer: object, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """The optimizer that a factory makes over all parameters.

    Raises:
        ArgumentError: if it is not a factory of torch optimizers over these parameters.
    """
    advice = (
        "expected a function from parameters to a torch.optim.Optimizer, such as "
        "functools.partial(torch.optim.Adam, lr=1e-3); the optimizers of pyro.optim work with SVI"
    )
    ready = isinstance(optimizer, torch.optim.Optimizer | PyroOptim)
    if ready or not callable(optimizer) or (isinstance(optimizer, type) and issubclass(optimizer, PyroOptim)):
        kind = f"the class {optimizer.__name__}" if isinstance(optimizer, type) else f"a {type(optimizer).__name__}"
        raise ArgumentError(f"optimizer is {kind}; {advice}")
    try:
        made = optimizer(parameters)
    except RUN_ERRORS as error:
        raise ArgumentError(f"the optimizer cannot be built: {type(error).__name__}: {error}; {advice}") from error
    if not isinstance(made, torch.optim.Optimizer):
        raise ArgumentError(f"optimizer makes a {type(made).__name__}; {advice}")
    if isinstance(made, torch.optim.LBFGS):
        raise ArgumentError("LBFGS needs a closure that runs the batch again; use a first-order optimizer")
    own = {id(p) for p in parameters}
    if not all(id(p) in own for group in made.param_groups for p in group["params"]):
        raise ArgumentError(f"the optimizer holds parameters that are not the pair's; {advice}")
    return made


def make_schedule(schedule: object, optimizer: torch.optim.Optimizer, epochs: int) -> LRScheduler | None:
    """The learning-rate schedule of a name, over so many epochs, or that a factory makes.

    Raises:
        ArgumentError: if there is none of that name, or it is not a factory of torch schedules.
    """
    if schedule is None:
        return None
    if isinstance(schedule, str):
        check_choice("schedule", schedule, schedules.__all__)
        schedule = partial(getattr(schedules, schedule), epochs=epochs)
    advice = (
        "expected a function from an optimizer to a torch schedule, such as "
        "functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.9)"
    )
    if not callable(schedule):
        raise ArgumentError(f"schedule is {schedule!r}; {advice}")
    try:
        made = schedule(optimizer)
    except RUN_ERRORS as error:
        raise ArgumentError(f"the schedule cannot be built: {type(error).__name__}: {error}; {advice}") from error
    if not isinstance(made, LRScheduler):
        raise ArgumentError(f"schedule makes a {type(made).__name__}; {advice}")
    return made
