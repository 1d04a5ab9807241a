"""A model that samples its observed sites."""

from collections.abc import Sequence

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from pyvae.core.random_streams import isolated_rng
from pyvae.inspection.sites import has_density, is_factor, stochastic_sites

__all__ = ["Unobserved", "reads_data"]


class Unobserved(Messenger):
    """A handler that samples a program's observed sites, except factors and deterministic sites.

    What they observed stays with them, as ``data``: their gaps are those of the samples.
    """

    def _pyro_sample(self, msg: dict) -> None:
        if not has_density(msg) or is_factor(msg):
            return
        if msg["is_observed"]:
            msg["data"] = msg["value"]
            msg["is_observed"], msg["value"], msg["done"] = False, None, False


def reads_data(pair: nn.Module, args: Sequence[Tensor]) -> bool:
    """Whether the model's samples depend on its first argument: then it cannot draw data of its own."""
    x = args[0]
    others = [x.roll(1, 0) if len(x) > 1 else x.flip(tuple(range(x.dim()))), *args[1:]]
    drawn = []
    for arguments in (args, others):
        with isolated_rng(0):
            trace = poutine.trace(Unobserved()(pair.model)).get_trace(*arguments)
        drawn.append([s["value"] for s in stochastic_sites(trace).values()])
    pairs = zip(*drawn, strict=True)
    return not all(a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs)
