"""A guide's samples, detached from what they were computed from."""

from collections.abc import Callable
from typing import Any

from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyvae.objectives.per_datapoint import PerDatapointELBO

__all__ = ["DetachedDraws"]


class _Cut(Messenger):
    """Gives the programs each latent without its past, and keeps the sample itself."""

    def __init__(self) -> None:
        super().__init__()
        self.draws: dict[str, Tensor] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        # the model's latents are the guide's, which have been cut already
        if not msg["is_observed"] and msg["name"] not in self.draws and isinstance(msg["value"], Tensor):
            self.draws[msg["name"]] = msg["value"]
            msg["value"] = msg["value"].detach().requires_grad_(msg["value"].is_floating_point())


class DetachedDraws(PerDatapointELBO):
    """An objective whose densities are functions of the samples alone, not of how these were drawn.

    The samples with their graph are at ``node["draw"]`` of the guide's traces.
    """

    def _get_trace(self, model: Callable, guide: Callable, args: tuple, kwargs: dict) -> tuple[Trace, Trace]:
        # around the traces, whose own record of a site is made later
        with _Cut() as cut:
            model_trace, guide_trace = super()._get_trace(model, guide, args, kwargs)
        for name, draw in cut.draws.items():
            if name in guide_trace.nodes:
                guide_trace.nodes[name]["draw"] = draw
        return model_trace, guide_trace
