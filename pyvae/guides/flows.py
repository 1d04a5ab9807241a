"""Normalizing flows as guides."""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform, Distribution, Transform

from pyvae.components import ParametrizedByNetwork
from pyvae.core.arguments import check_int
from pyvae.distributions import Flow
from pyvae.distributions.flow import import_zuko
from pyvae.distributions.vectors import vector_length
from pyvae.guides.guide import Guide
from pyvae.networks.shapes import as_widths

__all__ = ["ConditionalSplineFlow", "InverseAutoregressiveFlow"]


class _FlowGuide(ParametrizedByNetwork, Guide):
    """The base of flows whose encoder gives a location, a scale and features for the layers."""

    def __init__(
        self,
        network: nn.Module,
        event_shape: int | Sequence[int],
        context_features: int = 16,
        transforms: int = 2,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__(network, event_shape)
        dim = vector_length(event_shape)
        check_int("context_features", context_features)
        check_int("transforms", transforms)
        self.context_features = context_features
        options = {"transforms": transforms, "hidden_features": as_widths(hidden, "hidden")}
        self.transform = self._make(dim, context_features, **options)

    @staticmethod
    def _make(dim: int, context_features: int, **options: object) -> nn.Module:
        """The lazy transform: from h to a map that samples go through."""
        raise NotImplementedError

    @staticmethod
    def _assemble(transform: Transform, loc: Tensor, scale: Tensor) -> tuple[Transform, Distribution]:
        """The transform of noise to samples, and the distribution of the noise."""
        raise NotImplementedError

    @property
    def output_shape(self) -> torch.Size:
        """The shape of means, log-variances and the features h."""
        return torch.Size([2 * self.event_shape[0] + self.context_features])

    def __repr__(self) -> str:  # that of Zuko's modules draws random numbers
        return f"{type(self).__name__}({self.extra_repr()}, context_features={self.context_features})"

    def forward(self, x: Tensor, *context: Tensor) -> dist.Distribution:
        """The flow, with x's batch shape."""
        (d,) = self.event_shape
        output = self.output(x, *context)
        loc, log_variance, h = output.split([d, d, self.context_features], -1)
        draw, base = self._assemble(self.transform(h), loc, (log_variance / 2).exp())
        return Flow(draw.inv, base, (self.transform, output))


class InverseAutoregressiveFlow(_FlowGuide):
    r"""An inverse autoregressive flow as the guide.

    .. math:: z_0 \sim \mathcal N(\mu, \operatorname{diag} \sigma^2), \qquad
        z_t = m_t + s_t \odot z_{t-1}, \qquad q(z_T \mid x) \text{ is the guide}

    m_ti and s_ti are functions of h and the first i − 1 elements of z_{t−1}.

    (μ, log σ², h) = f(x, c). A sample takes one pass through each layer, and its density comes with it: all that an
    ELBO needs. The density of other values takes as many passes as z has dimensions. The KL divergence has no closed
    form.

    Args:
        network: the encoder f, called as ``network(x, *context)``, to vectors of length 2 d + ``context_features``:
            means, log-variances, and h.
        event_shape: the length d of z.
        context_features: the length of h.
        transforms: T; the order of dimensions is reversed from one to the next.
        hidden: widths of the hidden layers of each layer's network.

    Raises:
        ArgumentError: if ``event_shape`` is not that of a vector, or a number is out of range.
        PairError: when called, if the network's output has another shape.

    References:
        Kingma et al., *Improved variational inference with inverse autoregressive flow*, 2016, equations 10 and 11.

    Example:
        >>> guide = InverseAutoregressiveFlow(nn.Linear(5, 8), event_shape=2, context_features=4)
        >>> guide(torch.zeros(3, 5)).rsample().shape
        torch.Size([3, 2])
    """

    @staticmethod
    def _make(dim: int, context_features: int, **options: object) -> nn.Module:
        return import_zuko().flows.MAF(dim, context_features, **options).transform

    @staticmethod
    def _assemble(transform: Transform, loc: Tensor, scale: Tensor) -> tuple[Transform, Distribution]:
        return transform, dist.Normal(loc, scale).to_event(1)


class ConditionalSplineFlow(_FlowGuide):
    r"""A flow of spline coupling layers as the guide.

    .. math:: z = \mu + \sigma \odot (f_T \circ \dots \circ f_1)(u; h), \qquad u \sim \mathcal N(0, I)

    Each f_t is a layer of splines.

    (μ, log σ², h) = f(x, c). In each layer one half of the dimensions goes through splines that depend on the other
    half and on h, the other through splines that depend on h alone. Splines are monotonic, of 8 rational
    quadratic pieces on [−5, 5], which are 5 standard deviations of u, and the identity outside of it: a guide of
    several modes, or with bends. Samples and densities take two passes through each layer at most. The KL divergence
    has no closed form.

    Args:
        network: the encoder f, called as ``network(x, *context)``, to vectors of length 2 d + ``context_features``:
            means, log-variances, and h.
        event_shape: the length d of z.
        context_features: the length of h.
        transforms: T; the halves change places from one to the next.
        hidden: widths of the hidden layers of each layer's network.

    Raises:
        ArgumentError: if ``event_shape`` is not that of a vector, or a number is out of range.
        PairError: when called, if the network's output has another shape.

    References:
        Durkan, Bekasov, Murray and Papamakarios, *Neural spline flows*, 2019, section 3 (as a guide, section 5.2).

    Example:
        >>> guide = ConditionalSplineFlow(nn.Linear(5, 8), event_shape=2, context_features=4)
        >>> guide(torch.zeros(3, 5)).rsample().shape
        torch.Size([3, 2])
    """

    @staticmethod
    def _make(dim: int, context_features: int, **options: object) -> nn.Module:
        return import_zuko().flows.NSF(dim, context_features, passes=2, **options).transform

    @staticmethod
    def _assemble(transform: Transform, loc: Tensor, scale: Tensor) -> tuple[Transform, Distribution]:
        zuko = import_zuko()
        base = dist.Normal(torch.zeros_like(loc), torch.ones_like(scale)).to_event(1)
        return zuko.transforms.ComposedTransform(transform, AffineTransform(loc, scale, event_dim=1)), base
