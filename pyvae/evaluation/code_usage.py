"""The usage of codes: the histogram of every latent site that is a grid of integers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from pyro import poutine
from torch import Tensor, nn
from torch.distributions import constraints

from pyvae.batching.batches import Batches, Data, batches_for, inspect_data
from pyvae.core.random_streams import seeded_rng
from pyvae.errors import DataError, PairError
from pyvae.inspection.elements import counted
from pyvae.inspection.inspection import Inspection
from pyvae.inspection.sites import has_support, stochastic_sites, unwrapped

if TYPE_CHECKING:  # to import them takes as long as torch
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["CodeUsage", "code_usage", "count_codes", "sizes_of_codes"]

_ROWS = 1024


@dataclass(frozen=True, repr=False)
class CodeUsage:
    """The histogram of codes over the data and all places of the grid.

    Attributes:
        counts: (K,) int64.
        places: the number M of codes per datapoint.
        share: of all codes, that of those which are not masked.

    Example:
        >>> usage = CodeUsage(torch.tensor([2, 2, 0, 0]), places=1)
        >>> usage
        <CodeUsage: 2 of 4 codes used, perplexity 2.0>
        >>> usage.uniform_bits
        2.0
    """

    counts: Tensor
    places: int
    share: float = 1.0

    @property
    def num_codes(self) -> int:
        """The number of codes, K."""
        return len(self.counts)

    @property
    def perplexity(self) -> float:
        """The perplexity exp H of the frequencies, the effective number of codes in use; from 1 to K."""
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
        """The bits M log₂ K of a datapoint's codes where all are equally likely; those that are masked have none."""
        return self.places * self.share * float(torch.tensor(self.num_codes).double().log2())

    @property
    def meaning_of_bits(self) -> str:
        """The meaning of the KL of these codes in bits, in words."""
        count = self.places * self.share
        return (
            f"to encode the {count:g} code{'s' * (count != 1)} of a datapoint under the prior, less their entropy "
            f"under the guide; {self.uniform_bits:.1f} with a uniform prior and a deterministic guide"
        )

    @property
    def advice(self) -> str:
        """Advice if less than half of the codes occur, as a rule of thumb; else empty."""
        if self.usage >= 0.5:
            return ""
        return (
            "initialize the codebook by k-means (quantizer.initialize), revive dead codes (revive_below), or take fewer"
        )

    def figures(self) -> dict[str, float]:
        """Perplexity, usage and dead codes by name."""
        return {"perplexity": self.perplexity, "usage": self.usage, "dead_codes": self.dead}

    def to_dataframe(self) -> "pd.DataFrame":
        """How often each code occurs, and its share of all, one row per code."""
        import pandas as pd

        index = pd.RangeIndex(self.num_codes, name="code")
        return pd.DataFrame({"count": self.counts.cpu(), "share": self.counts.cpu() / self.counts.sum().cpu()}, index)

    def plot(self) -> "Figure":
        """The frequencies of the codes, the most frequent first, beside uniform use."""
        from pyvae.pages.results import draw_code_use

        return draw_code_use({"codes": self.counts})

    def _repr_html_(self) -> str:
        from pyvae.pages.snippet import snippet

        used = f"{self.num_codes - self.dead:,} of {self.num_codes:,} codes occur ({self.usage:.0%})"
        effective = f"The effective number of codes in use (perplexity) is {self.perplexity:.1f}."
        advice = [("amber", f"{self.advice[0].upper()}{self.advice[1:]}.")] if self.advice else []
        return snippet("Use of the codes", sentences=[f"{used}. {effective}", *advice], figure=self.plot())

    def __repr__(self) -> str:
        used = self.num_codes - self.dead
        return f"<CodeUsage: {used} of {self.num_codes} codes used, perplexity {self.perplexity:.1f}>"


def sizes_of_codes(inspection: Inspection) -> dict[str, int]:
    """The latent sites of guide and model, in the data plate, that the model draws from 0 … K − 1, and K."""
    found, guide = {}, stochastic_sites(inspection.guide)
    for name in inspection.latents:
        site = inspection.model.nodes[name]
        p = unwrapped(site["fn"])
        support = p.support if has_support(p) else None
        while isinstance(support, constraints.independent):
            support = support.base_constraint
        bounds = [getattr(support, bound, None) for bound in ("lower_bound", "upper_bound")]
        inside = name in guide and any(f.name == inspection.data_plate for f in guide[name]["cond_indep_stack"])
        if (
            isinstance(support, constraints.integer_interval)
            and bounds[0] == 0
            and isinstance(bounds[1], int)
            and inside
        ):
            found[name] = bounds[1] + 1
    return found


def code_usage(pair: nn.Module, data: Data, seed: int | None = None) -> dict[str, CodeUsage]:
    r"""The usage of a pair's codes on data, in evaluation mode.

    .. math:: n_j = \sum_n \sum_i 1[k_{n,i} = j], \qquad k_n \sim q(k \mid x_n)

    All latent sites in the data plate are counted whose distribution in the model is over 0 … K − 1 for a fixed K, such
    as a Categorical or a grid of them, in any pair; the levels of a residual quantizer are counted together. Masked
    codes do not count.

    Args:
        pair: a module with ``model`` and ``guide``.
        data: as for :func:`pyvae.fit`.
        seed: of the draws of a guide that draws its codes; without one, as for :func:`pyvae.fit`.

    Returns:
        :class:`CodeUsage` by site.

    Raises:
        PairError: if no latent of the pair is such a site.
        DataError: if there are no data, or the guide's codes are none of the model's.
        ArgumentError: if ``seed`` is no seed.

    References:
        van den Oord, Vinyals and Kavukcuoglu, *Neural discrete representation learning*, 2017 (perplexity as a measure
        of use); Dhariwal et al., *Jukebox*, 2020, section 3.1 (usage).

    Example:
        >>> import pyvae
        >>> pair = pyvae.recipes.vqvae(shape=(1, 8, 8), num_codes=16, channels=[8])
        >>> code_usage(pair, torch.rand(32, 1, 8, 8))["k"].counts.sum()
        tensor(512)
    """
    batches = batches_for(pair, data, _ROWS)
    inspection = inspect_data(pair, batches)
    if not sizes_of_codes(inspection):
        raise PairError(f"{type(pair).__name__} has no latent site of integers from 0: it has no codes")
    return count_codes(inspection, batches, seed)


def count_codes(inspection: Inspection, batches: Batches, seed: int | None = None) -> dict[str, CodeUsage]:
    """The :func:`code_usage` of a pair that has been inspected, and has codes."""
    sizes = sizes_of_codes(inspection)
    counts = {name: torch.zeros(size, dtype=torch.long) for name, size in sizes.items()}
    places, total = dict.fromkeys(sizes, 0), dict.fromkeys(sizes, 0)
    with seeded_rng(seed), inspection.at_rest():
        for batch in batches.in_order():
            trace = poutine.trace(inspection.pair.guide).get_trace(*batch)
            for name, size in sizes.items():
                counts[name] += _counts(name, trace.nodes[name], size).cpu()
                total[name] += trace.nodes[name]["value"].numel()
                places[name] = trace.nodes[name]["value"].numel() // len(batch[0])
    return {n: CodeUsage(counts[n], places[n], int(counts[n].sum()) / total[n]) for n in counts}


def _counts(name: str, site: dict, size: int) -> Tensor:
    """How often each code occurs where the site is not masked."""
    codes, elements = site["value"].long(), counted(site)
    codes = codes if elements is None else codes[elements]
    if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < size:
        raise DataError(f"the guide's {name!r} lies in [{codes.min()}, {codes.max()}]; expected 0 to {size - 1}")
    return codes.flatten().bincount(minlength=size)
