"""Weights as functions of the epoch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real

from pyvae.core.arguments import check_int, check_positive
from pyvae.errors import ArgumentError

__all__ = ["Cyclical", "Ramp", "Schedule", "WarmUp"]

Schedule = float | Callable[[int], float]


@dataclass(frozen=True)
class WarmUp:
    r"""A KL weight that rises linearly to 1 over the epochs.

    .. math:: \beta(e) = \max\Bigl(\mathrm{floor}, \min\Bigl(1, \frac{e - \mathrm{delay}}{\mathrm{epochs}}\Bigr)\Bigr),
        \qquad e \ge 1

    Args:
        epochs: how many it takes to reach 1; a number below 1 is a part of all epochs of :func:`pyvae.fit`.
        delay: how many pass before it rises.
        floor: what it starts from, more than 0.

    Raises:
        ArgumentError: if an argument is out of range.

    Example:
        >>> [WarmUp(epochs=4)(epoch) for epoch in (1, 2, 4, 9)]
        [0.25, 0.5, 1.0, 1.0]
    """

    epochs: int | float
    delay: int = 0
    floor: float = 1e-3

    def __post_init__(self) -> None:
        numbers = all(isinstance(v, Real) for v in (self.epochs, self.delay, self.floor))
        if not (numbers and self.epochs > 0 and self.delay >= 0 and 0 < self.floor <= 1):
            raise ArgumentError(
                f"got epochs={self.epochs!r}, delay={self.delay!r}, floor={self.floor!r}; expected a positive number, "
                "no negative delay, and a floor in (0, 1]"
            )

    def over(self, total: int) -> "WarmUp":
        """The warm-up of a run of so many epochs."""
        return self if self.epochs >= 1 else replace(self, epochs=max(1.0, self.epochs * total))

    def __call__(self, epoch: int) -> float:
        """The weight β in this epoch, counted from 1.

        Raises:
            ArgumentError: if ``epochs`` is a part of a run whose length is not known.
        """
        if self.epochs < 1:
            raise ArgumentError(
                f"epochs={self.epochs} is a part of a run of unknown length: in a loop of your own, call "
                "objective.at_epoch(epoch, total), or give a number of epochs"
            )
        return min(1.0, max(self.floor, (epoch - self.delay) / self.epochs))


@dataclass(frozen=True)
class Cyclical:
    r"""A KL weight that goes through repeated warm-ups.

    .. math:: \beta(e) = \max(\mathrm{floor}, \min(1, \tau / \mathrm{rise})), \qquad
        \tau = \frac{((e - 1) \bmod \mathrm{period}) + 1}{\mathrm{period}}

    In each cycle the weight rises from 1/(rise · period) to 1, and stays there: latents that a warm-up has left unused
    get another chance.

    Args:
        period: the epochs of a cycle.
        rise: the part of a cycle, in (0, 1], in which the weight rises.
        floor: the least weight, more than 0.

    Raises:
        ArgumentError: if an argument is out of range.

    References:
        Fu et al., *Cyclical annealing schedule*, 2019, equation 6.

    Example:
        >>> [Cyclical(period=4, rise=0.5)(epoch) for epoch in (1, 2, 3, 4, 5)]
        [0.5, 1.0, 1.0, 1.0, 0.5]
    """

    period: int
    rise: float = 0.5
    floor: float = 1e-3

    def __post_init__(self) -> None:
        check_int("period", self.period)
        if not all(isinstance(v, Real) and 0 < v <= 1 for v in (self.rise, self.floor)):
            raise ArgumentError(f"got rise={self.rise!r}, floor={self.floor!r}; expected numbers in (0, 1]")

    def __call__(self, epoch: int) -> float:
        """The weight β in this epoch, counted from 1."""
        passed = ((epoch - 1) % self.period + 1) / self.period
        return max(self.floor, min(1.0, passed / self.rise))


@dataclass(frozen=True)
class Ramp:
    r"""A value that rises linearly over the epochs, such as a capacity in nats.

    .. math:: C(e) = \mathrm{stop} \cdot \min(1, e / \mathrm{epochs}), \qquad e \ge 1

    Args:
        stop: where it ends, more than 0.
        epochs: how many it takes.

    Raises:
        ArgumentError: if an argument is out of range.

    Example:
        >>> [Ramp(stop=20, epochs=4)(epoch) for epoch in (1, 2, 4, 9)]
        [5.0, 10.0, 20.0, 20.0]
    """

    stop: float
    epochs: int

    def __post_init__(self) -> None:
        check_positive("stop", self.stop)
        check_int("epochs", self.epochs)

    def __call__(self, epoch: int) -> float:
        """The value C in this epoch, counted from 1."""
        return self.stop * min(1.0, epoch / self.epochs)
