"""Uniform samples of a step that cover a batch evenly."""

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints, register_kl

__all__ = ["StratifiedSteps"]


class StratifiedSteps(TorchDistribution):
    r"""Uniform samples of a time step 1 … T that cover a batch evenly.

    .. math:: t_n = 1 + \lfloor T \cdot \operatorname{frac}(u + n/N) \rfloor, \qquad n = 0, \dots, N - 1,
        \quad u \sim U(0, 1)

    in random order, so that P(t_n = t) = 1/T.

    Each sample alone is uniform on 1 … T, so that averages over a batch estimate the same as with independent samples,
    but the samples of a batch are spread evenly and the averages vary less. ``log_prob`` is that of the marginals,
    −log T.

    Args:
        steps: T.
        like: a tensor on the device and of the dtype of what the weights are computed with.

    Raises:
        ValueError: from ``log_prob``, for values that are no steps, while Pyro's validation is on.

    References:
        Kingma, Salimans, Poole and Ho, *Variational diffusion models*, 2021, appendix I.1.

    Example:
        >>> StratifiedSteps(5, torch.zeros(())).expand([5]).sample().sort().values
        tensor([1, 2, 3, 4, 5])
    """

    arg_constraints: dict = {}  # noqa: RUF012 (as torch has it)
    has_rsample = True  # draws depend on no parameter

    def __init__(
        self,
        steps: int,
        like: Tensor,
        batch_shape: torch.Size = torch.Size(),  # noqa: B008
        validate_args: bool | None = None,
    ) -> None:
        self.steps = steps
        self.like = like
        super().__init__(batch_shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """The steps 1 … T."""
        return constraints.integer_interval(1, self.steps)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "StratifiedSteps":
        """The same distribution, expanded to a batch."""
        return StratifiedSteps(self.steps, self.like, torch.Size(batch_shape), validate_args=self._validate_args)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Samples, int64."""
        shape = self._extended_shape(sample_shape)
        count, options = shape.numel(), {"device": self.like.device, "dtype": self.like.dtype}
        places = torch.argsort(torch.rand(count, **options)) / max(count, 1)
        places = (places + torch.rand((), **options)).frac()
        return (1 + (places * self.steps).long()).clamp(max=self.steps).reshape(shape)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Samples, int64."""
        return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log probability of each step, −log T."""
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        return -torch.full(shape, float(self.steps), device=self.like.device, dtype=self.like.dtype).log()


@register_kl(StratifiedSteps, StratifiedSteps)
def _kl(p: StratifiedSteps, r: StratifiedSteps) -> Tensor:
    if p.steps != r.steps:
        raise NotImplementedError("the two have different numbers of steps")
    return p.like.new_zeros(p.batch_shape)
