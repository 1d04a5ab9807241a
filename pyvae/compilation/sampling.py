"""Draws from a pair as a compiled function."""

from collections.abc import Sequence

import torch
from pyro.infer import Predictive
from torch import Tensor, nn

from pyvae.compilation.program import Programs
from pyvae.core.arguments import check_int

__all__ = ["CompiledPredictive"]


class CompiledPredictive(nn.Module):
    r"""Draws from p(x, z), or from p(x′, z | x) ≈ p(x′ | z) q(z | x), traced once per signature into one graph.

    Gives what Pyro's ``Predictive`` of the same settings gives with ``parallel=True``, from the same random stream,
    and, as that, leaves the mode of the pair alone: call ``pair.eval()`` first where it matters. It pays off where the
    same shapes are drawn many times. Parameters and arguments are read anew at each call, and what
    :func:`pyvae.compile` says of other state holds here.

    Args:
        pair: a module with ``model`` and ``guide``.
        num_samples: the number S of samples per call.
        posterior: whether the latents come from the guide instead of the model.
        return_sites: the names of the sites to give; by default those that Pyro gives.

    Raises:
        ArgumentError: if ``num_samples`` is not positive.
        TraceError: at the first call, if the pair cannot be traced.

    Example:
        >>> import pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> draw = CompiledPredictive(vae, num_samples=3, return_sites=["x"])
        >>> draw(size=7)["x"].shape
        torch.Size([3, 7, 5])
    """

    def __init__(
        self,
        pair: nn.Module,
        num_samples: int = 1,
        posterior: bool = False,
        return_sites: Sequence[str] = (),
    ) -> None:
        super().__init__()
        check_int("num_samples", num_samples)
        self.pair = pair
        self._settings = (num_samples, posterior, tuple(return_sites))
        self._programs = Programs(pair)

    def forward(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        """The samples for these arguments of the pair's programs, by site: (S, …) each."""
        count, posterior, sites = self._settings

        @torch.no_grad()
        def draw(*inputs: object) -> dict[str, Tensor]:
            guide = self.pair.guide if posterior else None
            predictive = Predictive(self.pair.model, {}, guide, count, sites, parallel=True)
            return predictive(*inputs[: len(args)], **dict(zip(kwargs, inputs[len(args) :], strict=True)))

        instead = "pyro.infer.Predictive itself"
        return self._programs.run(draw, (*args, *kwargs.values()), instead, key=tuple(kwargs))
