"""A categorical distribution over grey levels."""

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Categorical, constraints

from pyvae.errors import ArgumentError

__all__ = ["CategoricalLevels"]


class CategoricalLevels(TorchDistribution):
    r"""A categorical distribution over L equidistant grey levels in [0, 1].

    .. math:: P(x = k/(L - 1)) = \frac{\exp a_k}{\sum_j \exp a_j}, \qquad k = 0, \dots, L - 1

    Each level has a probability of its own: the distribution may have any shape, but that neighbouring levels are
    similar must be learned.

    Args:
        logits: a, of shape (…, L) with L at least 2.

    Raises:
        ArgumentError: if there are fewer than two logits.
        ValueError: from ``log_prob``, for values outside [0, 1], while Pyro's validation is on.

    References:
        Van den Oord, Kalchbrenner and Kavukcuoglu, *Pixel recurrent neural networks*, 2016, section 2.2.

    Example:
        >>> p = CategoricalLevels(torch.tensor([0.0, 0.0, 0.0]))
        >>> p.mean, p.log_prob(torch.tensor([0.0, 0.5])).exp()
        (tensor(0.5000), tensor([0.3333, 0.3333]))
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012 (as torch has it)
    support = constraints.unit_interval
    has_rsample = False

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        if not logits.dim() or logits.shape[-1] < 2:
            raise ArgumentError(f"logits have shape {tuple(logits.shape)}; expected (..., L) with L levels, at least 2")
        self.logits = logits
        super().__init__(logits.shape[:-1], validate_args=validate_args)

    @property
    def levels(self) -> int:
        """The number of levels, L."""
        return self.logits.shape[-1]

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "CategoricalLevels":
        """The same distribution, expanded to a larger batch."""
        logits = self.logits.expand(*batch_shape, self.levels)
        expanded = CategoricalLevels(logits, validate_args=False)
        expanded._validate_args = self._validate_args
        return expanded

    @property
    def mean(self) -> Tensor:
        """The mean, Σ_k P(k) k/(L − 1)."""
        probabilities = self.logits.softmax(-1)
        return probabilities @ torch.linspace(0, 1, self.levels).to(probabilities)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Samples on the grid."""
        with torch.no_grad():
            level = Categorical(logits=self.logits, validate_args=False).sample(sample_shape)
            return level.to(self.logits.dtype) / (self.levels - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log probability of values on the grid; values between count as their nearest level."""
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        level = (value * (self.levels - 1)).round().long().expand(shape).unsqueeze(-1)
        # half precision is too coarse for the sum over an image
        logits = self.logits.float() if self.logits.dtype in (torch.half, torch.bfloat16) else self.logits
        return logits.log_softmax(-1).expand(*shape, self.levels).gather(-1, level).squeeze(-1)
