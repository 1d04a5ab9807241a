"""The likelihood of images as mixtures of discretized logistic distributions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyvae import distributions
from pyvae.core.arguments import check_int
from pyvae.datasets import Kind
from pyvae.likelihoods.likelihood import Likelihood

__all__ = ["DiscretizedLogisticMixture"]


class DiscretizedLogisticMixture(Likelihood):
    r"""The likelihood of images as mixtures of discretized logistic distributions, as in PixelCNN++.

    .. math:: p(x \mid z) = \prod_i \sum_k \pi_{ik} \prod_c P(x_{ci}; m_{kci}, s_{kci})

    P is the mass of a logistic distribution on x_ci's cell.

    For images with L grey levels, scaled to [0, 1]; see :class:`pyvae.distributions.DiscretizedLogisticMixture`. The
    channels of a position share the component and depend on each other linearly; the elements of a vector have a
    mixture each. As in the reference, the network works in units of [−1, 1]: of its output (log π, μ, log s, a), the
    location is (1 + μ)/2, the scale exp(log s)/2 and the coupling of channels tanh a.

    A floor of 1/(40 (L − 1)) is added to the scales, which keeps gradients finite. Nothing is lost by it: at the floor,
    a cell holds all but 4·10⁻⁹ of a component in its middle.

    Args:
        network: f, called as ``network(z, *context)``; its output has, for an x of shape (C,) + positions, the shape
            (K (1 + 2 C + C (C − 1) / 2),) + positions: K logits, K C means, K C log-scales and K C (C − 1) / 2
            couplings, each for all of component 1, then 2, …; for a vector of length D the shape (3 K D,), likewise.
        event_shape: shape of x.
        num_components: K.
        levels: L, at least 2.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints, there is no component, or there are fewer than
            two levels.
        PairError: when called, if the network's output has another shape.

    References:
        Salimans, Karpathy, Chen and Kingma, *PixelCNN++*, 2017, equations 2 and 3.

    Example:
        >>> likelihood = DiscretizedLogisticMixture(nn.Identity(), event_shape=(3, 8, 8), num_components=5)
        >>> likelihood.output_shape
        torch.Size([50, 8, 8])
        >>> likelihood(torch.zeros(4, 50, 8, 8)).event_shape
        torch.Size([3, 8, 8])
    """

    values = Kind.LEVELS

    def __init__(
        self, network: nn.Module, event_shape: int | Sequence[int], num_components: int = 10, levels: int = 256
    ) -> None:
        super().__init__(network, event_shape)
        check_int("num_components", num_components)
        check_int("levels", levels, 2)
        self.num_components, self.levels = num_components, levels

    @property
    def output_shape(self) -> torch.Size:
        """The shape of the logits, means, log-scales and couplings of all components, one after another."""
        first, *rest = self.event_shape if len(self.event_shape) > 1 else (1, *self.event_shape)
        rows = self.num_components * (1 + 2 * first + first * (first - 1) // 2)
        return torch.Size([rows, *rest] if len(self.event_shape) > 1 else [rows * rest[0]])

    def extra_repr(self) -> str:
        """The event shape, the number of components and the number of levels."""
        return f"{super().extra_repr()}, num_components={self.num_components}, levels={self.levels}"

    def forward(self, z: Tensor, *context: Tensor) -> distributions.DiscretizedLogisticMixture:
        """The mixtures of f(z, c), with z's batch shape."""
        output = self.output(z, *context)
        components, channels, dim = self.num_components, self.event_shape[0], -len(self.event_shape)
        if len(self.event_shape) == 1:
            output, channels, dim = output.unflatten(-1, (-1, self.event_shape[0])), 1, -2
        pairs = channels * (channels - 1) // 2
        widths = (1, channels, channels, pairs)
        parts = output.split([components * width for width in widths], dim)
        logits, loc, log_scale, coupling = (
            part.unflatten(dim, (components, width)) for part, width in zip(parts, widths, strict=True)
        )
        return distributions.DiscretizedLogisticMixture(
            logits.squeeze(dim),
            (1 + loc) / 2,
            log_scale.exp() / 2 + 1 / (40 * (self.levels - 1)),
            self.event_shape,
            coupling.tanh(),
            self.levels,
        )
