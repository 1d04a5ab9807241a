"""The units of data that have been preprocessed."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Units"]


@dataclass(frozen=True)
class Units:
    r"""What a density of preprocessed data says of the data before.

    .. math:: \log p(x) = \log p(x') - \sum_i \log s_i, \qquad x_i = s_i x'_i + t_i

    Attributes:
        log_scale: log s, which broadcasts to the shape of a row; 0 where the units are those of the data set.
        data: what x is, in words.

    Example:
        >>> import torch
        >>> grey = Units().rescaled(torch.tensor(256.0).log(), "the 256 levels of x")
        >>> grey.rescaled(torch.tensor(0.5).log(), "x before its standardization")
        Units(log_scale=tensor(4.8520), data='the 256 levels of x')
    """

    log_scale: Tensor | float = 0.0
    data: str = "x as the data set has it"

    def rescaled(self, log_scale: Tensor, data: str) -> "Units":
        """Those of x', where the units that are known here are those of x; ``data`` says in words what x is."""
        return Units(self.log_scale + log_scale, data if self.data == Units.data else self.data)
