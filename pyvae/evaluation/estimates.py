"""Estimates over a data set: their values, their Monte Carlo errors, and the spread of the data."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyvae.evaluation.classification import Classification
from pyvae.evaluation.code_usage import CodeUsage
from pyvae.evaluation.jackknife import effective_draws, jackknife

if TYPE_CHECKING:  # to import them takes as long as torch
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["ELBOEstimate", "Estimate", "Evaluation"]

_LISTED = 12  # levels of a hierarchy; those of a diffusion are too many for a table

#: an error that rests on fewer draws is itself too uncertain to be more than a lower limit; chosen by its coverage
FEWEST_BEHIND = 10


@dataclass(frozen=True, repr=False)
class Estimate:
    """A figure in nats per datapoint, with its Monte Carlo error and the spread of the data kept apart.

    Attributes:
        per_datapoint: the figure of each datapoint, (N,) float64, in the order of the data; of a ``DataLoader`` that
            shuffles, in that of the one pass that was made over it.
        standard_errors: the Monte Carlo standard error of each, (N,) float64; nan for a single particle.
        num_particles: the number of samples per datapoint.
        draws_behind: the effective number of draws on which each error rests, (N,) float64, for an importance-weighted
            bound; None for a plain mean.

    Example:
        >>> estimate = Estimate(torch.tensor([-1.0, -3.0]), torch.tensor([0.3, 0.4]), num_particles=10)
        >>> float(estimate), round(estimate.standard_error, 6)
        (-2.0, 0.25)
    """

    per_datapoint: Tensor
    standard_errors: Tensor
    num_particles: int
    draws_behind: Tensor | None = field(default=None, kw_only=True)

    @property
    def value(self) -> float:
        """The mean over the data."""
        return float(self.per_datapoint.mean())

    @property
    def standard_error(self) -> float:
        """The Monte Carlo standard error of :attr:`value` for these data, which more particles would reduce."""
        return float(self.standard_errors.square().sum().sqrt() / len(self.standard_errors))

    @property
    def draws_behind_error(self) -> float:
        """The effective number of draws, of all data together, on which :attr:`standard_error` rests."""
        if self.draws_behind is None:
            return math.inf
        return float(effective_draws(self.standard_errors.square(), self.draws_behind))

    @property
    def error_is_at_least(self) -> bool:
        """Whether :attr:`standard_error` is a lower limit only, as it rests on fewer than 10 draws."""
        return self.draws_behind_error < FEWEST_BEHIND

    @property
    def caution(self) -> str:
        """Why the error is a lower limit only, and what to do; empty where it is none."""
        if not self.error_is_at_least:
            return ""
        return (
            f"its Monte Carlo error rests on about {self.draws_behind_error:.1f} draws and is a lower limit: raise "
            "num_particles, give more data, or train a guide that is less narrow"
        )

    def error_text(self, digits: str = ".3f") -> str:
        """The Monte Carlo error as it is printed; "at least" where it is a lower limit only."""
        return f"{'at least ' if self.error_is_at_least else ''}{self.standard_error:{digits}}"

    def minus(self, other: "Estimate") -> "Estimate":
        """The paired difference from another estimate, of independent draws for the same data."""
        errors = torch.stack([self.standard_errors, other.standard_errors])
        pair = [e.draws_behind if e.draws_behind is not None else torch.full_like(e.per_datapoint, math.inf)
                for e in (self, other)]  # fmt: skip
        return Estimate(
            self.per_datapoint - other.per_datapoint,
            errors.square().sum(0).sqrt(),
            self.num_particles,
            draws_behind=effective_draws(errors.square(), torch.stack(pair)),
        )

    def cpu(self) -> "Estimate":
        """The figure and its errors in main memory, without other terms."""
        behind = None if self.draws_behind is None else self.draws_behind.cpu()
        return Estimate(self.per_datapoint.cpu(), self.standard_errors.cpu(), self.num_particles, draws_behind=behind)

    @property
    def dataset_standard_error(self) -> float:
        """The test-set sampling error of :attr:`value`: that of the population's mean, which more data would reduce."""
        count = len(self.per_datapoint)
        return float(self.per_datapoint.std() / math.sqrt(count)) if count > 1 else math.nan

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.error_text()} nats"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}: {len(self.per_datapoint)} datapoints, {self.num_particles} particles>"


@dataclass(frozen=True, repr=False)
class ELBOEstimate(Estimate):
    """The ELBO and its terms, ELBO = reconstruction − Σ_i KL_i, in nats per datapoint.

    The term of a latent site z_i is E_q[log q(z_i | …) − log p(z_i | …)], each density given what its own program has
    drawn before. Where guide and model draw in the same order this is an expected KL, and not negative; in a chain
    whose guide runs against the model it may be negative, but for the site that the model draws first.

    Attributes:
        reconstruction: E_q[log p(x | z)] of each datapoint, (N,) float64.
        kl_terms: the terms of the latent sites, by name, (N,) float64 each; a factor of the guide is one too.
    """

    reconstruction: Tensor
    kl_terms: dict[str, Tensor]

    @property
    def kl(self) -> Tensor:
        """The KL term of each datapoint, E_q[log q(z | x) − log p(z)], (N,) float64: the sum of the terms."""
        return sum(self.kl_terms.values(), torch.zeros_like(self.reconstruction))

    @property
    def layers(self) -> dict[str, Tensor]:
        """The terms by the names that they have in logs, ``kl_<site>``; none where there is only one."""
        return {f"kl_{name}": term for name, term in self.kl_terms.items()} if len(self.kl_terms) > 1 else {}


@dataclass(frozen=True)
class Evaluation:
    """The ELBO and the importance-weighted bound of a pair on the same data and samples.

    Attributes:
        elbo: the evidence lower bound.
        log_likelihood: the importance-weighted bound log p̂(x); None where the guide has no spread to weigh by.
        dimensions: the mean number of observed elements per datapoint, without those that are masked or missing.
        codes: the usage of the codes, by site; empty for a pair without.
        log_scale: the mean of log p(x') − log p(x), for data x that were preprocessed to x', in nats per datapoint.
        bits_of: what the bits per dimension are of.
        classification: the labels that the pair infers beside those that are known; None where it infers none.
    """

    elbo: ELBOEstimate
    log_likelihood: Estimate | None
    dimensions: float
    codes: dict[str, CodeUsage] = field(default_factory=dict)
    log_scale: float = 0.0
    bits_of: str = "x as it was given"
    classification: Classification | None = None

    @property
    def best(self) -> Estimate:
        """The tighter of the available bounds."""
        return self.log_likelihood or self.elbo

    @property
    def bits_per_dimension(self) -> float:
        """The bits −log₂ p̂(x) per observed element of x, in the units of :attr:`bits_of`; NaN if none is observed."""
        bits = (self.log_scale - self.best.value) / math.log(2)
        return bits / self.dimensions if self.dimensions else math.nan

    def to_dataframe(self) -> "pd.DataFrame":
        """One row per figure, with its Monte Carlo error and its test-set sampling error; NaN where there is none."""
        import pandas as pd

        figures = self.figures()
        ends = ("_standard_error", "_dataset_standard_error", "_error_is_at_least")
        names = [n for n in figures if not n.endswith(ends) and not n.startswith("num_")]
        rows = [[figures[n], *(figures.get(f"{n}{end}", math.nan) for end in ends[:2])] for n in names]
        columns = ["value", "standard_error", "dataset_standard_error"]
        return pd.DataFrame(rows, pd.Index(names, name="figure"), columns)

    def plot(self) -> "Figure":
        """Histograms of the bounds by datapoint."""
        from pyvae.pages.results import draw_values

        weighted = {} if self.log_likelihood is None else {"log p̂(x)": self.log_likelihood.per_datapoint}
        return draw_values({"ELBO": self.elbo.per_datapoint, **weighted}, "nats")

    def _repr_html_(self) -> str:
        from pyvae.pages.results import with_errors
        from pyvae.pages.snippet import snippet

        size, count = len(self.elbo.per_datapoint), self.elbo.num_particles
        heads = ("figure", "value", "Monte Carlo error", "test-set sampling error")
        about = f"Nats per datapoint; bits per observed element of {self.bits_of}."
        layers = self.elbo.layers if len(self.elbo.layers) > _LISTED else ()
        rows = with_errors(self.to_dataframe().drop(list(layers)))
        cautions = [f"log p̂(x): {self.best.caution}."] if self.best.caution else []
        title = f"Evaluation on {size:,} datapoints with {count:,} draws for each"
        return snippet(title, heads, rows, [about, *cautions], self.plot())

    def __str__(self) -> str:
        weighted = "" if self.log_likelihood is None else f", log p̂(x) {self.log_likelihood}"
        return f"ELBO {self.elbo}{weighted} with {self.elbo.num_particles} particles"

    def figures(self) -> dict[str, float]:
        """The figures by name, as plain numbers."""
        weighted = {} if self.log_likelihood is None else self._bound("log_likelihood", self.log_likelihood)
        return {
            "num_data": len(self.elbo.per_datapoint),
            "num_particles": self.elbo.num_particles,
            **self._bound("elbo", self.elbo),
            "reconstruction": float(self.elbo.reconstruction.mean()),
            "kl": float(self.elbo.kl.mean()),
            **{name: float(term.mean()) for name, term in self.elbo.layers.items()},
            **weighted,
            **{f"{n}_{site}": value for site in self.codes for n, value in self.of_codes(site).items()},
            "bits_per_dimension": self.bits_per_dimension,
            **(self.classification.figures() if self.classification else {}),
        }

    def record(self) -> dict[str, float | str]:
        """The figures, and of what the bits per dimension are, as JSON."""
        return {**self.figures(), "bits_of": self.bits_of}

    def of_codes(self, site: str) -> dict[str, float]:
        """The figures of a site of codes; its bits per datapoint under the prior, and under a uniform one."""
        usage, nats = self.codes[site], float(self.elbo.kl_terms[site].mean())
        return {**usage.figures(), "bits": nats / math.log(2), "uniform_bits": usage.uniform_bits}

    @staticmethod
    def _bound(name: str, bound: Estimate) -> dict[str, float]:
        told = {} if bound.draws_behind is None else {f"{name}_error_is_at_least": bound.error_is_at_least}
        return {
            name: bound.value,
            f"{name}_standard_error": bound.standard_error,
            **told,
            f"{name}_dataset_standard_error": bound.dataset_standard_error,
        }


def elbo_estimate(reconstruction: Tensor, latents: dict[str, Tensor]) -> ELBOEstimate:
    """The mean of the log weights over particles, from its terms of shape (S, N)."""
    log_weight = reconstruction + sum(latents.values())
    count = len(log_weight)
    errors = log_weight.std(0) / math.sqrt(count) if count > 1 else torch.full_like(log_weight[0], math.nan)
    terms = {name: -term.mean(0) for name, term in latents.items()}
    return ELBOEstimate(log_weight.mean(0), errors, count, reconstruction.mean(0), terms)


def effective_sample_size(log_weight: Tensor) -> Tensor:
    """The effective sample size of each datapoint, (Σ w)² / Σ w², (N,), from log weights of shape (S, N)."""
    return 1 / log_weight.softmax(0).square().sum(0)


def likelihood_estimate(log_weight: Tensor) -> Estimate:
    """The importance-weighted bound log (1/S) Σ_s w_s, from log weights of shape (S, N), with its jackknife errors."""
    count = len(log_weight)
    errors, behind = jackknife(log_weight)
    return Estimate(torch.logsumexp(log_weight, 0) - math.log(count), errors, count, draws_behind=behind)


def smaller_estimate(log_weight: Tensor, size: int) -> Estimate:
    """The bound L_k of k = ``size`` of the S samples: the mean over S / k blocks, two or more, with its error."""
    whole = log_weight[: len(log_weight) // size * size].unflatten(0, (-1, size))
    bounds = whole.logsumexp(1) - math.log(size)
    errors = bounds.std(0) / math.sqrt(len(bounds)) if len(bounds) > 1 else torch.full_like(bounds[0], math.nan)
    behind = effective_draws((bounds - bounds.mean(0)).square())
    return Estimate(bounds.mean(0), errors, size, draws_behind=behind)
