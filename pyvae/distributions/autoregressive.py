"""Grids of integers, drawn one after the other."""

from collections.abc import Generator, Sequence

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyvae.core.arguments import as_shape, check_code_dtype, check_int, check_module
from pyvae.errors import ArgumentError, DataError, PairError

__all__ = ["Autoregressive"]


class Autoregressive(TorchDistribution):
    r"""A distribution of grids of integer codes, each code given those before it in raster order.

    .. math:: P(k \mid c) = \prod_i P(k_i \mid k_1, \dots, k_{i-1}, c), \qquad k_i \in \{0, \dots, K - 1\}

    ``network(k, *context)`` gives the logits of all factors at once, those at place i from the codes before i alone:
    ``log_prob`` takes one call, under one batch dimension, whatever the shapes of batch and sample. ``sample`` goes
    place by place. It asks ``network.sampler(rows, *context)``, where there is one, for a generator that keeps what
    it computed: the generator yields logits (rows, K) of the first place, and after each ``send`` of codes (rows,)
    those of the next place. Without one, the network is called on the whole grid for each place. Both ways use the
    same random numbers in the same order.

    Args:
        network: from codes (rows,) + ``event_shape`` and the context to logits (rows,) + ``event_shape`` + (K,).
        event_shape: shape of the grid.
        num_codes: K.
        context: the tensors c, each of shape (…) + its event; their leading dimensions broadcast to the batch shape.
        batch_shape: None for that of the context.
        context_event_dims: the number of event dimensions of each context; None for ``network.context_event_dims``
            or else 1, a vector.

    Raises:
        ArgumentError: if an argument is of the wrong type or shape.
        DataError: from ``log_prob``, for codes that are not integers or of another shape, and, while Pyro's
            validation is on, for codes out of range.
        PairError: from ``log_prob`` and ``sample``, if the network's output has another shape.
        ValueError: from ``log_prob`` and ``sample``, while Pyro's validation is on, if the network's output is NaN.

    References:
        Van den Oord, Kalchbrenner and Kavukcuoglu, *Pixel recurrent neural networks*, 2016, equation 1.

    Example:
        >>> class Repeat(nn.Module):
        ...     def forward(self, k):
        ...         before = torch.nn.functional.pad(k, (1, 0))[..., :-1]
        ...         return 50.0 * torch.nn.functional.one_hot(before, 3)
        >>> p = Autoregressive(Repeat(), 4, num_codes=3)
        >>> p.sample(), p.log_prob(torch.tensor([0, 0, 1, 1]))
        (tensor([0, 0, 0, 0]), tensor(-50.))
    """

    arg_constraints: dict = {}  # noqa: RUF012 (as torch has it)
    has_rsample = False

    def __init__(
        self,
        network: nn.Module,
        event_shape: int | Sequence[int],
        num_codes: int,
        context: Sequence[Tensor] = (),
        batch_shape: torch.Size | None = None,
        context_event_dims: Sequence[int] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        check_module("network", network)
        check_int("num_codes", num_codes)
        self.network, self.num_codes = network, num_codes
        if not isinstance(context, list | tuple) or not all(isinstance(c, Tensor) for c in context):
            raise ArgumentError(f"context is a {type(context).__name__}; expected a tuple of tensors: (c,)")
        self.context = tuple(context)
        if context_event_dims is None:
            context_event_dims = getattr(network, "context_event_dims", (1,) * len(self.context))
        self.context_event_dims = tuple(context_event_dims)
        leading = self._leading_of_context()
        if batch_shape is None:
            batch_shape = leading
        if _broadcast(leading, batch_shape) != torch.Size(batch_shape):
            raise ArgumentError(
                f"batch_shape is {tuple(batch_shape)}; expected one to which the context's leading dimensions "
                f"{tuple(leading)} broadcast"
            )
        super().__init__(torch.Size(batch_shape), as_shape(event_shape), validate_args=validate_args)

    def _leading_of_context(self) -> torch.Size:
        shapes, dims = [tuple(c.shape) for c in self.context], self.context_event_dims
        fit = len(shapes) == len(dims) and all(len(s) >= d for s, d in zip(shapes, dims, strict=True))
        leading = _broadcast(*(s[: len(s) - d] for s, d in zip(shapes, dims, strict=True))) if fit else None
        if leading is None:
            raise ArgumentError(
                f"context has shapes {shapes}; expected {len(dims)} tensors, of event dimensions {list(dims)}, whose "
                "leading dimensions broadcast"
            )
        return leading

    @property
    def support(self) -> constraints.Constraint:
        """Integers from 0 to K − 1 at each place."""
        return constraints.independent(constraints.integer_interval(0, self.num_codes - 1), self.event_dim)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "Autoregressive":
        """The same distribution, expanded to a larger batch."""
        arguments = (self.network, self.event_shape, self.num_codes, self.context, torch.Size(batch_shape))
        return Autoregressive(*arguments, self.context_event_dims, validate_args=self._validate_args)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Samples, int64."""
        leading = torch.Size(sample_shape) + self.batch_shape
        if not leading.numel():
            return torch.empty(leading + self.event_shape, dtype=torch.long, device=self._device())
        with torch.no_grad():
            sampler = getattr(self.network, "sampler", self._whole_grids)
            factors = sampler(leading.numel(), *self._flat_context(leading))
            codes, drawn = None, []
            for _ in range(self.event_shape.numel()):
                probabilities = self._checked(factors.send(codes).softmax(-1))
                codes = torch.multinomial(probabilities, 1).squeeze(-1)
                drawn.append(codes)
            factors.close()
            return torch.stack(drawn, -1).reshape(leading + self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log probability of grids of codes, Σ_i log P(k_i | k_1, …, k_{i−1}, c)."""
        leading = self._check_codes(value)
        flat = value.long().expand(leading + self.event_shape).reshape(-1, *self.event_shape)
        logits = self._logits(flat, *self._flat_context(leading))
        if logits.dtype in (torch.half, torch.bfloat16):  # too coarse for the sum over a grid
            logits = logits.float()
        factors = self._checked(logits.log_softmax(-1)).gather(-1, flat.unsqueeze(-1))
        return factors.flatten(1).sum(-1).reshape(leading)

    def _logits(self, codes: Tensor, *context: Tensor) -> Tensor:
        logits = self.network(codes, *context)
        expected = (*codes.shape, self.num_codes)
        if not isinstance(logits, Tensor) or logits.shape != expected:
            came = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
            raise PairError(
                f"{type(self.network).__name__} gave {came} for codes of shape {tuple(codes.shape)}; expected logits "
                f"of shape {expected}"
            )
        return logits

    def _checked(self, factors: Tensor) -> Tensor:
        """The factors, which are a distribution."""
        if self._validate_args and bool(factors.isnan().any()):
            name = type(self.network).__name__
            raise ValueError(f"{name} gave logits that are NaN or all infinite; expected those of distributions")
        return factors

    def _whole_grids(self, rows: int, *context: Tensor) -> Generator[Tensor, Tensor, None]:
        """What ``network.sampler`` gives, from one call of the network on the whole grid for each place."""
        grid = torch.zeros(rows, *self.event_shape, dtype=torch.long, device=self._device())
        for place in range(self.event_shape.numel()):
            logits = self._logits(grid, *context).flatten(1, -2)
            grid.view(rows, -1)[:, place] = yield logits[:, place]

    def _device(self) -> torch.device | None:
        tensors = (*self.context, *self.network.parameters(), *self.network.buffers())
        return tensors[0].device if tensors else None

    def _flat_context(self, leading: torch.Size) -> list[Tensor]:
        """Each context for a flat batch, of shape (rows,) + its event."""
        events = [c.shape[c.dim() - d :] for c, d in zip(self.context, self.context_event_dims, strict=True)]
        return [c.expand(leading + e).reshape(-1, *e) for c, e in zip(self.context, events, strict=True)]

    def _check_codes(self, value: Tensor) -> torch.Size:
        """The leading dimensions of codes and batch, broadcast; refuses what are no codes of this grid."""
        check_code_dtype(value, self.num_codes)
        dims = value.dim() - self.event_dim
        leading = _broadcast(value.shape[: max(dims, 0)], self.batch_shape)
        if dims < 0 or value.shape[dims:] != self.event_shape or leading is None:
            raise DataError(
                f"codes have shape {tuple(value.shape)}; expected (..., {', '.join(map(str, self.event_shape))}), "
                f"with leading dimensions that broadcast with the batch shape {tuple(self.batch_shape)}"
            )
        if self._validate_args and value.numel() and not (value.min() >= 0 and value.max() < self.num_codes):
            raise DataError(
                f"codes lie in [{int(value.min())}, {int(value.max())}]; expected [0, {self.num_codes - 1}], for "
                f"num_codes={self.num_codes}"
            )
        return leading


def _broadcast(*shapes: Sequence[int]) -> torch.Size | None:
    """The common shape; None if there is none."""
    try:
        return torch.broadcast_shapes(*shapes)
    except RuntimeError:
        return None
