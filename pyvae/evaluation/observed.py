"""The numbers that a pair observes of data: how many of them count, and their units."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from pyro.poutine import Trace
from torch import Tensor

from pyvae.batching.batches import Data
from pyvae.datasets.units import Units
from pyvae.evaluation.classification import Classification
from pyvae.evaluation.code_usage import CodeUsage
from pyvae.evaluation.estimates import ELBOEstimate, Estimate, Evaluation
from pyvae.inspection.base_measures import DENSITY, kind_of
from pyvae.inspection.elements import counted, observes, which_count
from pyvae.inspection.inspection import Inspection, trace_programs

__all__ = ["ObservedNumbers"]


class ObservedNumbers:
    r"""A count of the observed elements that are neither masked nor missing, and of the change of their units.

    Where there are no masks, a datapoint has as many as any other; else batches must be added.

    Args:
        inspection: of the pair.
        data: which know their units, if they are those of :mod:`pyvae.datasets`.
    """

    def __init__(self, inspection: Inspection, data: Data) -> None:
        self._inspection, self._units = inspection, _units_of(data)
        sites = {name: inspection.model.nodes[name] for name in inspection.observed}
        x = inspection.arguments[0]
        self._x = [n for n, site in sites.items() if kind_of(site) == DENSITY and observes(site, x)]
        # flags that are on in the rows of the inspection may be off in later ones, and mask them
        flags = any(isinstance(a, Tensor) and a.dtype == torch.bool for a in inspection.arguments)
        self._masked = flags or any(counted(site) is not None for site in sites.values())
        self._size, self._sums = (0, (0.0, 0.0)) if self._masked else (len(x), self._counted(inspection.model))

    def add(self, args: Sequence[Tensor]) -> None:
        """Count the elements of a batch, if others may have other masks."""
        if self._masked:
            with self._inspection.at_rest():
                _, model = trace_programs(self._inspection.pair, args)
            self._size += len(args[0])
            self._sums = tuple(a + b for a, b in zip(self._sums, self._counted(model), strict=True))

    def evaluation(
        self,
        elbo: ELBOEstimate,
        bound: Estimate | None,
        codes: Mapping[str, CodeUsage] = MappingProxyType({}),
        classification: Classification | None = None,
    ) -> Evaluation:
        """The evaluation of what was counted."""
        numbers, nats = (total / self._size for total in self._sums)
        return Evaluation(elbo, bound, numbers, dict(codes), nats, self._told(), classification)

    def _told(self) -> str:
        """What the data are of whose bits an evaluation tells, in words."""
        if self._units is None:
            return "x as it was given"
        scaled = bool(torch.as_tensor(self._units.log_scale != 0).any())
        return self._units.data if self._x or not scaled else "x as preprocessed"

    def _counted(self, model: Trace) -> tuple[float, float]:
        """How many elements count, and the sum of log s over those of x."""
        numbers = nats = 0.0
        for name in self._inspection.observed:
            elements = which_count(model.nodes[name])
            numbers += float(elements.sum())
            if self._units is not None and name in self._x:
                nats += float((elements * torch.as_tensor(self._units.log_scale).to(elements.device)).sum().double())
        return numbers, nats


def _units_of(data: Data) -> Units | None:
    """The units of a data set, or of that of which a loader or a subset takes rows."""
    while not hasattr(data, "units") and hasattr(data, "dataset"):
        data = data.dataset
    return getattr(data, "units", None)
