"""Student's t likelihoods, with heavy tails."""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyvae.core.arguments import check_positive
from pyvae.likelihoods.location_scale import LocationScale

__all__ = ["StudentT"]


class StudentT(LocationScale):
    r"""Student's t likelihood, which is robust to outliers.

    .. math:: p(x \mid z) = \prod_i \frac 1\sigma t_\nu\Bigl(\frac{x_i - f_i(z, c)}{\sigma}\Bigr), \qquad
        t_\nu(u) \propto \Bigl(1 + \frac{u^2}{\nu}\Bigr)^{-(\nu + 1)/2}

    Each element is normal with a variance that is drawn for it alone, so that single corrupted elements pull at f with
    a force that falls with their distance. ν = 1 is the Cauchy distribution; ν → ∞ is the normal one. The mean exists
    for ν > 1, and the variance σ² ν / (ν − 2) for ν > 2. In single precision the normalizer loses digits as ν grows,
    to an error of about 10⁻³ per element at ν = 10⁴: where a learned ν goes there, use
    :class:`pyvae.likelihoods.Normal`.

    Args:
        network: f, called as ``network(z, *context)``; its output has the shape of x.
        event_shape: shape of x.
        scale: where σ starts, or σ itself if it is not learned, in the units of x.
        learn_scale: whether σ is learned (its logarithm is a parameter).
        per_element: whether each element of x has its own σ.
        df: the degrees of freedom ν, or where they start.
        learn_df: whether ν is a parameter (its logarithm is).

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints, or ``scale`` or ``df`` is not positive.
        PairError: when called, if the network's output has another shape.

    References:
        Takahashi, Iwata, Yamanaka, Yamada and Yagi, *Student-t variational autoencoder for robust density
        estimation*, 2018.

    Example:
        >>> likelihood = StudentT(nn.Linear(2, 5), event_shape=5, df=4)
        >>> round(likelihood(torch.zeros(4, 2)).variance[0, 0].item(), 4)
        2.0
    """

    def __init__(
        self,
        network: nn.Module,
        event_shape: int | Sequence[int],
        scale: float = 1.0,
        learn_scale: bool = True,
        per_element: bool = False,
        df: float = 3.0,
        learn_df: bool = False,
    ) -> None:
        super().__init__(network, event_shape, scale, learn_scale, per_element)
        check_positive("df", df)
        self._set("log_df", torch.tensor(float(df)).log(), learn_df)

    @property
    def df(self) -> Tensor:
        """The degrees of freedom ν."""
        return self.log_df.exp()

    def extra_repr(self) -> str:
        """The event shape, the scale and the degrees of freedom."""
        return f"{super().extra_repr()}, df={self.df.item():g}, learn_df={self.log_df.requires_grad}"

    def forward(self, z: Tensor, *context: Tensor) -> dist.Distribution:
        """The distribution t_ν around f(z, c) with scale σ, with z's batch shape."""
        loc = self.location(z, *context)
        return dist.StudentT(self.df, loc, self.scale).to_event(len(self.event_shape))
