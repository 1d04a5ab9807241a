"""The terms of the ELBO, gathered as an objective runs a pair."""

from collections.abc import Collection, Sequence

import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer import ELBO, Trace_ELBO, TraceGraph_ELBO, TraceTailAdaptive_ELBO
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from pyvae.objectives.divergences import site_kl
from pyvae.objectives.weighted import WeightedELBO

__all__ = ["ELBOTerms", "estimates_elbo", "weighs_terms"]


def estimates_elbo(objective: ELBO) -> bool:
    """Whether an objective's loss is minus an ELBO, so that KL = reconstruction + loss.

    A Rényi bound is not; nor can an enumerated model's reconstruction be read off one run of it.
    """
    family = isinstance(objective, Trace_ELBO | TraceGraph_ELBO)
    return family and not isinstance(objective, TraceTailAdaptive_ELBO | WeightedELBO)


def weighs_terms(objective: ELBO) -> bool:
    """Whether an objective's loss consists of the terms of the ELBO, from which the ELBO is then reported."""
    return isinstance(objective, WeightedELBO)


class ELBOTerms(Messenger):
    """Sums the terms of the ELBO while an objective runs model and guide, any number of times.

    To be put around the model; :attr:`guide` goes around the guide.

    Args:
        plate: the name of the plate over the data, if there is one.
        latents: the latent sites whose KL is wanted.
        analytic: those of them whose KL is the closed form, as in the objective; of others it is that of the sample.
        checked: the sites whose values are compared with the support of their distribution.

    Attributes:
        full_size: the size of that plate, to which it scales the loss of a batch; None before a run.
        inside: whether all values of the checked sites lay in the support, as a tensor; None without such sites.
    """

    def __init__(
        self,
        plate: str | None,
        latents: Sequence[str] = (),
        analytic: Collection[str] = (),
        checked: Collection[str] = (),
    ) -> None:
        super().__init__()
        self._analytic = analytic
        self._plate = plate
        self._checked = checked
        self.guide = _GuideSites(latents)
        self.inside: torch.Tensor | None = None
        self.full_size: int | None = None
        self._runs = 0
        self._reconstruction: torch.Tensor | float = 0.0
        self._kl: dict[str, torch.Tensor | float] = dict.fromkeys(latents, 0.0)

    def means(self) -> list[torch.Tensor | float]:
        """Of the sums over the batch, as scaled by plates, the means over runs: reconstruction, then KL by latent."""
        sums = [self._reconstruction, *self._kl.values()]
        return [total / self._runs if self._runs else float("nan") for total in sums]

    def __enter__(self) -> "ELBOTerms":
        self._runs += 1
        return super().__enter__()

    def _pyro_post_sample(self, msg: dict) -> None:
        if msg["name"] in self._kl:
            with torch.no_grad():
                kl = site_kl(self.guide.found[msg["name"]], msg, msg["name"] in self._analytic)
            self._kl[msg["name"]] += kl.sum()
        if not msg["is_observed"] or site_is_subsample(msg) or msg["infer"].get("_deterministic"):
            return
        for frame in msg["cond_indep_stack"]:
            if frame.name == self._plate:
                self.full_size = frame.full_size
        if msg["name"] in self._checked:
            inside = msg["fn"].support.check(msg["value"]).all()
            self.inside = inside if self.inside is None else self.inside & inside
        with torch.no_grad():
            log_density = scale_and_mask(msg["fn"].log_prob(msg["value"]), msg["scale"], msg["mask"])
        self._reconstruction = self._reconstruction + log_density.sum()


class _GuideSites(Messenger):
    """Keeps some sites of a guide's last run."""

    def __init__(self, latents: Sequence[str]) -> None:
        super().__init__()
        self._latents = frozenset(latents)
        self.found: dict[str, dict] = {}

    def _pyro_post_sample(self, msg: dict) -> None:
        if msg["name"] in self._latents:
            self.found[msg["name"]] = {name: msg[name] for name in ("fn", "value", "scale", "mask")}
