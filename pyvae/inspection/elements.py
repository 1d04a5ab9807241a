"""The elements of a site that count: all but those that are masked or missing."""

import functools
from collections.abc import Mapping

import torch
from pyro.distributions import Delta
from pyro.distributions.torch_distribution import MaskedDistribution
from pyro.poutine import Trace
from torch import Tensor
from torch.distributions import Distribution

from pyvae.distributions import PartiallyObserved
from pyvae.errors import PairError
from pyvae.inspection.sites import WRAPPERS, unwrapped

__all__ = ["check_masks", "counted", "holds_missing", "marked", "observes", "which_count"]


def counted(site: Mapping) -> Tensor | None:
    """The elements of a site that its density counts, as a bool tensor of its value's shape; None if there is no mask.

    An element does not count under ``poutine.mask`` or ``.mask(…)``, before or after ``to_event``, and where it is NaN
    under a :class:`pyvae.distributions.PartiallyObserved`; of a site that :class:`pyvae.inspection.Unobserved` has
    drawn, where the data are.
    """
    fn, value = site["fn"], site.get("data", site["value"])
    masks = [_over_events(site["mask"], fn, value)]
    while isinstance(fn, (*WRAPPERS, PartiallyObserved)):
        if isinstance(fn, MaskedDistribution):
            masks.append(_over_events(fn._mask, fn, value))
        if isinstance(fn, PartiallyObserved):
            masks.append(~value.isnan())
        fn = fn.base_dist
    masks = [mask for mask in masks if mask is not None]
    if not masks:
        return None
    together = functools.reduce(torch.logical_and, masks)
    return together.expand(torch.broadcast_shapes(together.shape, site["value"].shape))


def which_count(site: Mapping) -> Tensor:
    """The :func:`counted` elements of a site; all of them, where there is no mask."""
    elements = counted(site)
    return torch.ones_like(site["value"], dtype=torch.bool) if elements is None else elements


def _over_events(mask: bool | Tensor | None, fn: Distribution, value: Tensor) -> Tensor | None:
    """A mask of the batch of a distribution, with a dimension of length 1 for each one of its events."""
    if mask is None or mask is True:
        return None
    mask = torch.as_tensor(mask, device=value.device)
    return mask.reshape((*mask.shape, *[1] * len(fn.event_shape)))


def marked(values: Tensor, site: Mapping) -> Tensor:
    """Values of the shape of a site's, with NaN for the elements that do not count.

    Integers of a site that has a mask become floats, as in xarray.
    """
    elements = counted(site)
    if elements is None:
        return values
    return (values if values.is_floating_point() else values.double()).masked_fill(~elements, torch.nan)


def observes(site: Mapping, x: Tensor) -> bool:
    """Whether a site has these data as its value, but for elements that do not count."""
    if site["value"].shape != x.shape:
        return False
    elements, same = counted(site), site["value"].double() == x.double()
    return bool((same if elements is None else same | ~elements).all())


def holds_missing(name: str, trace: Trace) -> bool:
    """Whether a latent stands for the missing part of data, into which Pyro splits a site that has an ``obs_mask``."""
    whole = name.removesuffix("_unobserved")
    return name != whole and trace.nodes.get(whole, {}).get("infer", {}).get("_deterministic", False)


def check_masks(guide: Mapping[str, Mapping], model: Mapping[str, Mapping]) -> None:
    """Refuse a latent that is masked in one program alone: what it adds to log p − log q belongs to no bound.

    Raises:
        PairError: naming the site.
    """
    for name in guide.keys() & model.keys():
        q, p = guide[name], model[name]
        if q["is_observed"] or p["is_observed"] or isinstance(unwrapped(q["fn"]), Delta):
            continue
        there, here = map(which_count, (q, p))
        if not torch.equal(*torch.broadcast_tensors(here, there)):
            more, less = ("model", "guide") if bool((there & ~here).any()) else ("guide", "model")
            raise PairError(
                f"site {name!r} is masked in the {more} where it is not in the {less}, so that the difference of their "
                "densities bounds nothing; put both under the same pyro.poutine.mask(mask=…), or .mask(…)"
            )
