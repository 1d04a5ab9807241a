"""The variational mixture of posteriors."""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyvae.core.arguments import check_int, check_module
from pyvae.errors import ArgumentError, DataError, PairError
from pyvae.networks.shapes import as_shape
from pyvae.priors.prior import Prior

__all__ = ["VampPrior"]


class VampPrior(Prior):
    r"""A VampPrior: the mixture of the pair's own guide at learned pseudo-inputs.

    .. math:: p(z \mid c) = \frac 1K \sum_k q(z \mid u_k, c)

    The best prior for the ELBO is the mixture of q(z | x) over all data; this one makes do with K pseudo-inputs.
    Recipes give it the guide. In a pair of your own, give it as ``posterior``, or later to :meth:`over`; the prior
    reads it, but its parameters are the pair's, not the prior's (``deepcopy`` of the pair keeps the two together).
    Every call evaluates the guide on all pseudo-inputs, and with a context of N rows on K · N.

    At first all q(z | u_k) are alike, and so are all q(z | x): the KL is 0, with nothing to say where z lies. Warm the
    KL up (:class:`pyvae.objectives.WarmUp`), or the latents may stay unused.

    The pseudo-inputs are the parameter ``pseudo_inputs`` of shape (K,) + that of x. They start uniform on [0, 1],
    which suits intensities of images; :meth:`start_at` starts them at data instead.

    Args:
        event_shape: shape of z.
        num_components: K.
        posterior: q, the pair's own guide.
        shape: that of x; needed with ``posterior``.

    Raises:
        ArgumentError: if a shape or number is not positive, or one of ``posterior`` and ``shape`` is missing.
        PairError: when called before it has a guide, or if the guide's samples are not of ``event_shape``.

    References:
        Tomczak and Welling, *VAE with a VampPrior*, 2018, equation 9.

    Example:
        >>> from pyvae.guides import DiagonalNormal
        >>> prior = VampPrior(2, num_components=3, posterior=DiagonalNormal(nn.Linear(5, 4), 2), shape=5)
        >>> prior().sample((7,)).shape
        torch.Size([7, 2])
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        num_components: int = 500,
        posterior: nn.Module | None = None,
        shape: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.event_shape = as_shape(event_shape)
        check_int("num_components", num_components)
        self.num_components = num_components
        # in a tuple the guide is no submodule of the prior: its parameters belong to the pair, once
        self._posterior: tuple[nn.Module, ...] = ()
        self.register_parameter("pseudo_inputs", None)
        if (posterior is None) != (shape is None):
            raise ArgumentError(
                f"got posterior={posterior!r} and shape={shape!r}; expected the pair's guide and the shape of x, or "
                "neither, and then both to over(posterior, shape)"
            )
        if posterior is not None:
            self.over(posterior, shape)

    def extra_repr(self) -> str:
        """The event shape and the number of pseudo-inputs."""
        return f"event_shape={tuple(self.event_shape)}, num_components={self.num_components}"

    def over(self, posterior: nn.Module, shape: int | Sequence[int]) -> "VampPrior":
        """Take the pair's guide, and draw new pseudo-inputs of the shape of x.

        Raises:
            ArgumentError: if the guide is no module, or ``shape`` is not made of positive ints.
        """
        check_module("posterior", posterior)
        self._posterior = (posterior,)
        parameter = next(posterior.parameters(), torch.empty(()))
        options = {"dtype": parameter.dtype, "device": parameter.device}
        self.pseudo_inputs = nn.Parameter(torch.rand(self.num_components, *as_shape(shape, "shape"), **options))
        return self

    @torch.no_grad()
    def start_at(self, x: Tensor) -> "VampPrior":
        """Start the pseudo-inputs at the first K of these datapoints.

        Raises:
            DataError: if there are fewer than K, or they are of another shape.
            PairError: before the prior has a guide.
        """
        self._guide()
        shape = tuple(x.shape) if isinstance(x, Tensor) else ()
        if not shape or shape[0] < self.num_components or shape[1:] != tuple(self.pseudo_inputs.shape[1:]):
            raise DataError(
                f"got {f'data of shape {shape}' if shape else type(x).__name__}; expected at least "
                f"{self.num_components} of shape {tuple(self.pseudo_inputs.shape[1:])}: equal pseudo-inputs would stay "
                "equal"
            )
        if not x[: self.num_components].isfinite().all():
            raise DataError("the data hold NaN or infinity; expected complete data to start pseudo-inputs at")
        self.pseudo_inputs.copy_(x[: self.num_components])
        return self

    def _guide(self) -> nn.Module:
        if not self._posterior:
            raise PairError(
                "VampPrior has no guide; call over(posterior, shape) with the pair's own guide and the shape of x"
            )
        return self._posterior[0]

    def forward(self, *context: Tensor) -> dist.Distribution:
        """The mixture, with the context's batch shape, or () if there is none."""
        guide, u = self._guide(), self.pseudo_inputs
        leading = torch.broadcast_shapes(*(c.shape[:-1] for c in context))
        rows = [c.unsqueeze(-2).expand(*leading, len(u), c.shape[-1]) for c in context]
        q = guide(u.expand(leading + u.shape), *rows)
        if q.event_shape != self.event_shape:
            raise PairError(
                f"the guide's samples have event shape {tuple(q.event_shape)}; expected that of VampPrior, "
                f"{tuple(self.event_shape)}"
            )
        return dist.MixtureSameFamily(dist.Categorical(logits=u.new_zeros((*leading, len(u)))), q)
