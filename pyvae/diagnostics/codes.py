"""How a pair uses its codes: the histogram of every latent site that is a grid of integers."""

from dataclasses import dataclass

import torch
from pyro import poutine
from torch import Tensor, nn
from torch.distributions import constraints

from pyvae.batches import Data, as_batches
from pyvae.errors import PairError
from pyvae.inspection import Inspection, device_of, has_support, inspect_pair, unwrapped
from pyvae.isolation import evaluation_mode, own_parameters, preserved_streams

__all__ = ["CodeUsage", "code_sites", "code_usage"]

_ROWS = 1024


@dataclass(frozen=True, repr=False)
class CodeUsage:
    """How often each code occurs in the data, over all places of the grid.

    Attributes:
        counts: (K,) int64.
        places: the number M of codes per datapoint.

    Example:
        >>> usage = CodeUsage(torch.tensor([2, 2, 0, 0]), places=1)
        >>> usage
        <CodeUsage: 2 of 4 codes used, perplexity 2.0>
        >>> usage.uniform_bits
        2.0
    """

    counts: Tensor
    places: int

    @property
    def num_codes(self) -> int:
        """K."""
        return len(self.counts)

    @property
    def perplexity(self) -> float:
        """exp H of the frequencies: how many codes, used equally often, would be as hard to foretell; from 1 to K."""
        return float(torch.distributions.Categorical(self.counts.double()).perplexity())

    @property
    def dead(self) -> int:
        """The number of codes that do not occur."""
        return int((self.counts == 0).sum())

    @property
    def usage(self) -> float:
        """The share of the codes that occur."""
        return 1 - self.dead / self.num_codes

    @property
    def uniform_bits(self) -> float:
        """M log₂ K, the bits of a datapoint's codes where all are as likely."""
        return self.places * float(torch.tensor(self.num_codes).double().log2())

    def figures(self) -> dict[str, float]:
        """Perplexity, usage and dead codes by name."""
        return {"perplexity": self.perplexity, "usage": self.usage, "dead_codes": self.dead}

    def __repr__(self) -> str:
        used = self.num_codes - self.dead
        return f"<CodeUsage: {used} of {self.num_codes} codes used, perplexity {self.perplexity:.1f}>"


def code_sites(inspection: Inspection) -> dict[str, int]:
    """The latent sites whose values are integers 0 … K − 1 in the model, and K."""
    found = {}
    for name in inspection.latents:
        p = unwrapped(inspection.model.nodes[name]["fn"])
        support = p.support if has_support(p) else None
        while isinstance(support, constraints.independent):
            support = support.base_constraint
        bounds = [getattr(support, bound, None) for bound in ("lower_bound", "upper_bound")]
        if isinstance(support, constraints.integer_interval) and bounds[0] == 0 and isinstance(bounds[1], int):
            found[name] = bounds[1] + 1
    return found


def code_usage(pair: nn.Module, data: Data, seed: int = 0) -> dict[str, CodeUsage]:
    r"""n_j = Σ_n Σ_i 1[k_{n,i} = j], k_n ~ q(k | x_n): how often each code stands for the data, in evaluation mode.

    Every latent site is looked at whose values are integers 0 … K − 1 under the model, whichever pair it belongs to;
    of a residual quantizer, the levels are counted together.

    Args:
        pair: a module with ``model`` and ``guide``.
        data: as for :func:`pyvae.fit`.
        seed: of the draws of a guide that draws its codes.

    Returns:
        :class:`CodeUsage` by site.

    Raises:
        PairError: if no latent of the pair is such a site.
        DataError: if the data cannot be read.

    References:
        van den Oord, Vinyals and Kavukcuoglu, *Neural discrete representation learning*, 2017 (perplexity as a measure
        of use); Dhariwal et al., *Jukebox*, 2020, section 3.1 (usage).

    Example:
        >>> import pyvae
        >>> pair = pyvae.recipes.vqvae(shape=(1, 8, 8), num_codes=16, channels=[8])
        >>> code_usage(pair, torch.rand(32, 1, 8, 8))["k"].counts.sum()
        tensor(512)
    """
    batches = as_batches(data, _ROWS, device_of(pair))
    counts: dict[str, Tensor] = {}
    places: dict[str, int] = {}
    sizes: dict[str, int] | None = None
    with preserved_streams(seed), evaluation_mode(pair), own_parameters(), torch.no_grad():
        for batch in batches.in_order():
            if sizes is None:
                sizes = code_sites(inspect_pair(pair, batch))
                if not sizes:
                    raise PairError(f"{type(pair).__name__} has no latent site of integers from 0: it has no codes")
                counts = {n: torch.zeros(k, dtype=torch.long) for n, k in sizes.items()}
            trace = poutine.trace(pair.guide).get_trace(*batch)
            for name, size in sizes.items():
                codes = trace.nodes[name]["value"]
                counts[name] += codes.flatten().bincount(minlength=size).cpu()
                places[name] = codes[0].numel()
    return {name: CodeUsage(counts[name], places[name]) for name in counts}
