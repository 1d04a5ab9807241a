"""A gradient of the importance-weighted bound for guides that draw without reparametrization."""

from collections.abc import Sequence

from pyro.poutine import Trace
from torch import Tensor

from pyvae.objectives.per_datapoint import PerDatapointELBO, Weights

__all__ = ["VIMCO"]


class VIMCO(PerDatapointELBO):
    r"""The importance-weighted bound with a low-variance gradient for guides that are not reparametrized.

    .. math:: \nabla L_K = E \Bigl[ \sum_k (\hat L - \hat L_{-k}) \nabla \log q(z_k \mid x)
        + \nabla \hat L \big|_{z \text{ fixed}} \Bigr]

    L̂_{−k} is the estimate with the geometric mean of the others in place of w_k: a control variate that costs nothing.
    The gradient is unbiased; sites that are reparametrized keep their gradient through the sample.

    Args:
        num_particles: K, at least 2.
        vectorize_particles: as for :class:`ImportanceWeightedELBO`.

    Raises:
        ArgumentError: if ``num_particles`` is less than 2.
        PairError: when run, if a site lies outside of the plate over the data, or its density is scaled by hand, or if
            the guide has a Delta where the model has a density.

    References:
        Mnih and Rezende, *Variational inference for Monte Carlo objectives*, 2016, equations 5 to 10.

    Example:
        >>> import pyvae, torch
        >>> quantizer = pyvae.quantizers.SoftmaxQuantizer(num_codes=4, dim=2)
        >>> pair = pyvae.recipes.vqvae(shape=(1, 4, 4), channels=[4], quantizer=quantizer)
        >>> result = pyvae.fit(pair, torch.zeros(7, 1, 4, 4), objective=VIMCO(3), epochs=1, seed=0, progress=False)
        >>> result.history[0]["train_loss"] > 0
        True
    """

    _least = 2
    _pathwise = False

    def surrogate(self, weights: Weights, traces: Sequence[tuple[Trace, Trace]]) -> Tensor:
        """The bound Σ_n L and the score function's term."""
        fixed = weights.log.detach()
        count = len(fixed)
        means = (fixed.sum(0) - fixed) / (count - 1)
        without = fixed.expand(count, *fixed.shape).clone()
        without[range(count), range(count)] = means
        signal = fixed.logsumexp(0) - without.logsumexp(1)
        return self.bound(weights.log).sum() + (signal * weights.drawn).sum()
