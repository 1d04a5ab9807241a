"""Mixtures of logistic distributions over the grey levels of an image."""

from collections.abc import Callable, Sequence

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Categorical, constraints
from torch.nn import functional

from pyvae.core.arguments import as_shape, check_int
from pyvae.errors import ArgumentError

__all__ = ["DiscretizedLogisticMixture"]


class DiscretizedLogisticMixture(TorchDistribution):
    r"""A mixture of logistic distributions over the grey levels of an image, as in PixelCNN++.

    .. math::

        P(x) = \prod_i \sum_k \pi_{ik} \prod_c \Bigl[ \sigma\Bigl(\frac{x_{ci} + h - m_{kci}}{s_{kci}}\Bigr)
            - \sigma\Bigl(\frac{x_{ci} - h - m_{kci}}{s_{kci}}\Bigr) \Bigr], \qquad h = \frac{1}{2 (L - 1)}

    For images x with L grey levels, scaled to [0, 1], with positions i and channels c. The channels of a position share
    the component k; within it, each depends linearly on those before: m_kci = μ_kci + Σ_{d < c} a_kcdi (x_di − 1/2).
    The cells of the levels 0 and 1 reach to −∞ and ∞, so that the probabilities sum to 1.

    A vector x has one channel, and its elements are the positions: one mixture for each element.

    Args:
        logits: log π plus anything, of shape (…, K) + positions.
        loc: μ, of shape (…, K, C) + positions, with C = 1 for vectors.
        scale: s, of the shape of ``loc``.
        event_shape: shape of x: (C,) + positions, or the length of a vector.
        coupling: a, of shape (…, K, C (C − 1) / 2) + positions, the pairs (c, d) in the order (1, 0), (2, 0), (2, 1),
            …; None for channels that are independent given the component.
        levels: L, at least 2.

    Raises:
        ArgumentError: if the shapes do not fit each other, or there are fewer than two levels.
        ValueError: from ``log_prob``, for values outside [0, 1], while Pyro's validation is on.

    References:
        Salimans, Karpathy, Chen and Kingma, *PixelCNN++*, 2017, equations 2 and 3 (with x in [−1, 1]).

    Example:
        >>> logits, loc, scale = torch.zeros(2, 1), torch.tensor([[[0.2]], [[0.7]]]), torch.full((2, 1, 1), 0.1)
        >>> p = DiscretizedLogisticMixture(logits, loc, scale, event_shape=1, levels=5)
        >>> round(p.log_prob(torch.linspace(0, 1, 5)[:, None]).exp().sum().item(), 6)
        1.0
    """

    arg_constraints = {  # noqa: RUF012 (as torch has it)
        "logits": constraints.real,
        "loc": constraints.real,
        "scale": constraints.positive,
        "coupling": constraints.real,
    }
    has_rsample = False

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        scale: Tensor,
        event_shape: int | Sequence[int],
        coupling: Tensor | None = None,
        levels: int = 256,
        validate_args: bool | None = None,
    ) -> None:
        check_int("levels", levels, 2)
        self.levels, event_shape = levels, as_shape(event_shape)
        # a vector is a grid of one channel
        self._grid = event_shape if len(event_shape) > 1 else torch.Size([1, *event_shape])
        channels, *positions = self._grid
        self._channel = -len(positions) - 1
        components = logits.shape[self._channel] if logits.dim() > len(positions) else 1
        pairs = channels * (channels - 1) // 2
        if coupling is None:
            coupling = loc.new_zeros(components, pairs, *positions)
        given = {"logits": logits, "loc": loc, "scale": scale, "coupling": coupling}
        widths = {"logits": [], "loc": [channels], "scale": [channels], "coupling": [pairs]}
        events = {name: (components, *width, *positions) for name, width in widths.items()}
        batch_shape = _common_batch(given, events)
        for name, parameter in given.items():
            setattr(self, name, parameter.expand(batch_shape + events[name]))
        super().__init__(batch_shape, event_shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """The interval [0, 1] for each element."""
        return constraints.independent(constraints.unit_interval, self.event_dim)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "DiscretizedLogisticMixture":
        """The same distribution, expanded to a larger batch."""
        logits = self.logits.expand(*batch_shape, *self.logits.shape[len(self.batch_shape) :])
        parameters = (logits, self.loc, self.scale, self.event_shape, self.coupling, self.levels)
        expanded = DiscretizedLogisticMixture(*parameters, validate_args=False)
        expanded._validate_args = self._validate_args
        return expanded

    @property
    def mean(self) -> Tensor:
        """The approximate mean.

        It ignores the grid (less than half a level) and the effect of couplings at the edges of [0, 1]. In each
        component it is that of a logistic variable y that is brought into [0, 1],
        s log((1 + e^{m/s}) / (1 + e^{(m − 1)/s})), at the means of the channels before.
        """

        def clamped(loc: Tensor, scale: Tensor) -> Tensor:
            return scale * (functional.softplus(loc / scale) - functional.softplus((loc - 1) / scale))

        means = self._in_turn(self.loc, self.scale, self.coupling, clamped)
        weights = self.logits.softmax(self._channel).unsqueeze(self._channel)
        return (weights * means).sum(self._channel - 1).reshape(self.batch_shape + self.event_shape)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Samples: a component at each position, then its channels one after another, each rounded to the grid."""
        last = self.levels - 1

        def draw(loc: Tensor, scale: Tensor) -> Tensor:
            uniform = torch.rand_like(loc)
            return ((loc + scale * (uniform.log() - torch.log1p(-uniform))).clamp(0, 1) * last).round() / last

        with torch.no_grad():
            component = Categorical(logits=self.logits.movedim(self._channel, -1), validate_args=False).sample(
                sample_shape
            )
            index = component.unsqueeze(self._channel).unsqueeze(self._channel)
            drawn = [_pick(p, index, self._channel) for p in (self.loc, self.scale, self.coupling)]
            return self._in_turn(*drawn, draw).reshape(self._extended_shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """The log probability of values on the grid; values between count as their nearest level."""
        if self._validate_args:
            self._validate_sample(value)
        last = self.levels - 1
        leading = value.shape[: value.dim() - self.event_dim]
        level = (value * last).round().reshape(leading + self._grid).unsqueeze(self._channel - 1)
        centres = [self._centre(c, self.loc, self.coupling, level / last) for c in range(self._grid[0])]
        cells = self._log_cells(level, torch.stack(torch.broadcast_tensors(*centres), self._channel))
        joint = (self.logits.log_softmax(self._channel) + cells.sum(self._channel)).logsumexp(self._channel)
        return joint.flatten(self._channel + 1).sum(-1)

    def _log_cells(self, level: Tensor, centre: Tensor) -> Tensor:
        """log (σ(b) − σ(a)) = log σ(b) + log σ(−a) + log(1 − e^{a − b}): no difference of nearly equal numbers."""
        last = self.levels - 1
        # neighbours must meet in the very same number, else probability falls through the gap
        low, high = (((level + side) / last - centre) / self.scale for side in (-0.5, 0.5))
        below, above = functional.logsigmoid(high), functional.logsigmoid(-low)
        inside = (-torch.expm1(-1 / (last * self.scale))).log()
        return torch.where(level < 0.5, below, torch.where(level > last - 0.5, above, below + above + inside))

    def _centre(self, c: int, loc: Tensor, coupling: Tensor, values: Tensor) -> Tensor:
        """m_c = μ_c + Σ_{d < c} a_cd (x_d − 1/2)."""
        centre = loc.select(self._channel, c)
        if c == 0:
            return centre
        weights = coupling.narrow(self._channel, c * (c - 1) // 2, c)
        return centre + (weights * (values.narrow(self._channel, 0, c) - 0.5)).sum(self._channel)

    def _in_turn(
        self, loc: Tensor, scale: Tensor, coupling: Tensor, give: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """The channels one after another: ``give(m, s)`` of each, with the m that follows from those before it."""
        values = loc.narrow(self._channel, 0, 0)
        for c in range(self._grid[0]):
            channel = give(self._centre(c, loc, coupling, values), scale.select(self._channel, c))
            values = torch.cat([values, channel.unsqueeze(self._channel)], self._channel)
        return values


def _pick(parameter: Tensor, index: Tensor, channel: int) -> Tensor:
    """One component of a parameter for each draw and position."""
    rows = index.shape[: index.dim() + channel - 1] + parameter.shape[channel - 1 :]
    chosen = index.expand(*index.shape[:channel], parameter.shape[channel], *index.shape[index.dim() + channel + 1 :])
    return parameter.expand(rows).gather(channel - 1, chosen).squeeze(channel - 1)


def _common_batch(given: dict[str, Tensor], events: dict[str, tuple[int, ...]]) -> torch.Size:
    """The leading dimensions of the parameters, broadcast; refuses those that do not end in their event."""
    for name, parameter in given.items():
        event = events[name]
        if tuple(parameter.shape[max(0, parameter.dim() - len(event)) :]) != event:
            raise ArgumentError(
                f"{name} has shape {tuple(parameter.shape)}; expected (..., {', '.join(map(str, event))}), which "
                "follows from event_shape and the number of components in logits"
            )
    leading = {name: p.shape[: p.dim() - len(events[name])] for name, p in given.items()}
    try:
        return torch.broadcast_shapes(*leading.values())
    except RuntimeError:
        shapes = {name: tuple(shape) for name, shape in leading.items()}
        raise ArgumentError(f"the parameters have batch shapes {shapes}; expected shapes that broadcast") from None
