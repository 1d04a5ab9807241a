"""Normalizing flows as priors."""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyvae.core.arguments import check_int
from pyvae.distributions import Flow
from pyvae.distributions.flow import import_zuko
from pyvae.distributions.vectors import vector_length
from pyvae.errors import PairError
from pyvae.networks.shapes import as_widths, check_event
from pyvae.priors.prior import Prior

__all__ = ["MaskedAutoregressiveFlow", "NeuralSplineFlow", "RealNVP"]


class _FlowPrior(Prior):
    """p(z | c) = N(f(z; c); 0, I) abs det ∂f/∂z, for the f of a subclass.

    Args:
        event_shape: the length of z.
        context_dim: the length of c; 0 for a prior without context, which ignores any.
        transforms: the number of layers of f.
        hidden: widths of the hidden layers of each layer's network.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        context_dim: int = 0,
        transforms: int = 3,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__()
        dim = vector_length(event_shape)
        check_int("context_dim", context_dim, 0)
        check_int("transforms", transforms)
        self.context_dim = context_dim
        options = {"transforms": transforms, "hidden_features": as_widths(hidden, "hidden")}
        self.transform = self._make(dim, context_dim, **options)
        self.register_buffer("loc", torch.zeros(dim), persistent=False)

    @staticmethod
    def _make(dim: int, context_dim: int, **options: object) -> nn.Module:
        """The lazy transform: from c to f(·; c)."""
        raise NotImplementedError

    def __repr__(self) -> str:  # that of Zuko's modules draws random numbers
        return f"{type(self).__name__}(event_shape={tuple(self.loc.shape)}, context_dim={self.context_dim})"

    def forward(self, *context: Tensor) -> dist.Distribution:
        """The flow, with the context's batch shape, or () if it has none."""
        base = dist.Normal(self.loc, torch.ones_like(self.loc)).to_event(1)
        if not self.context_dim:
            return Flow(self.transform(), base)
        if not context:
            raise PairError(
                f"{type(self).__name__} has context_dim={self.context_dim}, but got no context; give the pair a "
                "context, or the prior context_dim=0"
            )
        c = context[0]
        check_event(self, c, (self.context_dim,))
        return Flow(self.transform(c), base.expand(c.shape[:-1]))


class MaskedAutoregressiveFlow(_FlowPrior):
    r"""A masked autoregressive flow as the prior.

    .. math:: p(z \mid c) = \mathcal N(u; 0, I) \left| \det \frac{\partial u}{\partial z} \right|, \qquad
        u = (f_T \circ \dots \circ f_1)(z)

    Each f is affine in z_i, given z_1 … z_{i−1} and c.

    Densities take one pass through each layer, samples as many as z has dimensions: quick to train, slow to sample
    from. There is no closed form of the KL divergence; objectives estimate it by Monte Carlo.

    Args:
        event_shape: the length of z.
        context_dim: the length of c; 0 for p(z), whatever the context.
        transforms: T; the order of dimensions is reversed from one to the next.
        hidden: widths of the hidden layers of each network.

    Raises:
        ArgumentError: if ``event_shape`` is not that of a vector, or a number is out of range.
        PairError: when called without context, though ``context_dim`` is not 0.

    References:
        Papamakarios, Pavlakou and Murray, *Masked autoregressive flow for density estimation*, 2017, equations 3 and 4.

    Example:
        >>> MaskedAutoregressiveFlow(2, context_dim=10)(torch.zeros(7, 10)).sample().shape
        torch.Size([7, 2])
    """

    @staticmethod
    def _make(dim: int, context_dim: int, **options: object) -> nn.Module:
        return import_zuko().flows.MAF(dim, context_dim, **options).transform


class NeuralSplineFlow(_FlowPrior):
    r"""An autoregressive flow of splines as the prior.

    .. math:: p(z \mid c) = \mathcal N(u; 0, I) \left| \det \frac{\partial u}{\partial z} \right|, \qquad
        u = (f_T \circ \dots \circ f_1)(z)

    Each f is a spline in z_i, given z_1 … z_{i−1} and c.

    The splines are monotonic, of 8 rational quadratic pieces on [−5, 5], and the identity outside of it: densities of
    several modes, where the affine layers of :class:`MaskedAutoregressiveFlow` bend one. As with these, densities
    take one pass through each layer, and samples as many as z has dimensions.

    Args:
        event_shape: the length of z.
        context_dim: the length of c; 0 for p(z), whatever the context.
        transforms: T; the order of dimensions is reversed from one to the next.
        hidden: widths of the hidden layers of each network.

    Raises:
        ArgumentError: if ``event_shape`` is not that of a vector, or a number is out of range.
        PairError: when called without context, though ``context_dim`` is not 0.

    References:
        Durkan, Bekasov, Murray and Papamakarios, *Neural spline flows*, 2019, section 3.

    Example:
        >>> NeuralSplineFlow(2)().sample((3,)).shape
        torch.Size([3, 2])
    """

    @staticmethod
    def _make(dim: int, context_dim: int, **options: object) -> nn.Module:
        return import_zuko().flows.NSF(dim, context_dim, **options).transform


class RealNVP(_FlowPrior):
    r"""A flow of affine coupling layers as the prior.

    .. math:: p(z \mid c) = \mathcal N(u; 0, I) \left| \det \frac{\partial u}{\partial z} \right|, \qquad
        u = (f_T \circ \dots \circ f_1)(z)

    Each f is affine in half of z, given the rest and c.

    The rest is scaled and shifted, too, but by amounts that depend on c alone. Halves change places from one layer to
    the next. Densities take one pass through each layer, and samples two, however long z is.

    Args:
        event_shape: the length of z.
        context_dim: the length of c; 0 for p(z), whatever the context.
        transforms: T.
        hidden: widths of the hidden layers of each network.

    Raises:
        ArgumentError: if ``event_shape`` is not that of a vector, or a number is out of range.
        PairError: when called without context, though ``context_dim`` is not 0.

    References:
        Dinh, Sohl-Dickstein and Bengio, *Density estimation using Real NVP*, 2017, equations 4 and 5.

    Example:
        >>> RealNVP(4)().sample((3,)).shape
        torch.Size([3, 4])
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        context_dim: int = 0,
        transforms: int = 4,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__(event_shape, context_dim, transforms, hidden)

    @staticmethod
    def _make(dim: int, context_dim: int, **options: object) -> nn.Module:
        # an autoregressive layer of two passes is a coupling layer; Zuko's own cannot be traced or moved to "meta"
        return import_zuko().flows.MAF(dim, context_dim, passes=2, **options).transform
