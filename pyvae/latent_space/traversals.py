"""Traversals of a pair's latent space, decoded to x: along one dimension, or between two datapoints."""

from collections.abc import Sequence

import torch
from pyro.distributions import Distribution
from pyro.infer.inspect import get_dependencies
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from pyvae.core.arguments import check_int
from pyvae.core.random_streams import isolated_rng
from pyvae.errors import ArgumentError, DataError, PairError, errors_as
from pyvae.inspection.inspection import Inspection, device_of, inspect_pair
from pyvae.inspection.sites import has_support
from pyvae.latent_space.decoding import data_site, decode, determining_means, shown
from pyvae.latent_space.posterior_means import centre, continuous_sites, draws_of, robust_moments

__all__ = ["continuous_site", "interpolate", "traverse"]

_VALUES = tuple(torch.linspace(-2, 2, 7).tolist())

Args = Tensor | Sequence[Tensor]


def traverse(
    pair: nn.Module,
    args: Args,
    site: str | None = None,
    dims: Sequence[int] | None = None,
    values: Sequence[float] = _VALUES,
) -> Tensor:
    r"""A latent traversal: a datapoint decoded with one dimension of z changed.

    .. math:: E[x \mid z + (m_d + a s_d - z_d) e_d], \qquad z = E_q[z \mid x]

    m_d and s_d are mean and standard deviation of z_d under the prior, in closed form or from 1000 samples. For a prior
    so heavy-tailed that one of them is not finite they are, of these samples, the median and the interquartile range in
    units of a normal distribution's, 1.349. Other latents keep their posterior means; those whose prior depends on this
    one, lower levels of a hierarchy, take the mean that the model gives them, one after the other.

    Args:
        pair: a pair whose model takes ``x=None``, ``y`` and ``size``.
        args: x, or x and y, of one datapoint: with one row.
        site: the latent site; by default the only one that is continuous.
        dims: which dimensions of it, flattened, in this order; by default all.
        values: a, in standard deviations from the mean.

    Returns:
        (dims, values, …), the mean of x given the latents.

    Raises:
        PairError: if the pair has no such site, or its model cannot be run without x.
        DataError: if there is not one datapoint.
        ArgumentError: if a dimension does not exist, there are no finite values, or with them z is none that the prior
            can draw, as on a sphere.

    References:
        Higgins et al., *β-VAE*, 2017, section 4 (latent traversals).

    Example:
        >>> import pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(1, 8, 8), latent_dim=3)
        >>> traverse(vae, torch.rand(1, 1, 8, 8), dims=[2, 0], values=[-1, 0, 1]).shape
        torch.Size([2, 3, 1, 8, 8])
    """
    inspection = _inspected(pair, args)
    labels = _labels(inspection)
    name = continuous_site(inspection, site)
    latents = determining_means(inspection)
    z = latents[name].flatten()
    dims = _checked_dims(range(len(z)) if dims is None else dims, len(z), name)
    offsets = _checked_values(values, z)
    prior = decode(pair, latents, labels, 1, inspection.stray).nodes[name]["fn"]
    mean, scale = (moment.flatten()[dims, None] for moment in _moments(prior))
    varied = z.repeat(len(dims), len(offsets), 1)
    for row, dim in enumerate(dims):
        varied[row, :, dim] = (mean + scale * offsets)[row]
    varied = varied.reshape(-1, *latents[name].shape[1:])
    if has_support(prior) and not prior.support.check(varied).all():
        raise ArgumentError(
            f"with these values {name!r} leaves the support of its prior, {prior.support}, on which its dimensions "
            "cannot be varied one by one; use interpolate, spherical=True on a sphere"
        )
    below = _below(pair, inspection, name, labels)
    kept = {n: value.expand(len(varied), *value.shape[1:]) for n, value in latents.items() if n not in below}
    with _Centred(below):
        trace = decode(pair, {**kept, name: varied}, _repeated(labels, len(varied)), len(varied), inspection.stray)
    return shown(trace, data_site(inspection), mean=True).unflatten(0, (len(dims), len(offsets)))


def interpolate(pair: nn.Module, a: Args, b: Args, steps: int = 8, spherical: bool = False) -> Tensor:
    r"""An interpolation between two datapoints in latent space, decoded to x.

    .. math:: E[x \mid (1 - t) z_a + t z_b], \qquad t = 0, \dots, 1, \qquad z = E_q[z \mid x]

    All latents change at once.

    In many dimensions, a straight line between two vectors passes closer to the origin than nearly all samples of the
    prior. ``spherical`` goes along the arc, (sin((1 − t) ω) z_a + sin(t ω) z_b) / sin ω with ω the angle
    between both, of each latent site by itself.

    Args:
        pair: a pair whose model takes ``x=None``, ``y`` and ``size``.
        a: x, or x and y, of one datapoint: with one row.
        b: the same of another; y must be the same.
        steps: number of points, both ends included.
        spherical: whether to go along the arc; between parallel vectors it is the line.

    Returns:
        (steps, …), the mean of x given the latents.

    Raises:
        PairError: if the pair has latents that are codes, between which there is nothing, or its model cannot be run
            without x.
        DataError: if there is not one datapoint at either end, or they are of different classes.
        ArgumentError: if ``steps`` is not an int of at least 2.

    References:
        White, *Sampling generative networks*, 2016, section 2.1 (spherical).

    Example:
        >>> import pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(1, 8, 8), latent_dim=3)
        >>> interpolate(vae, torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8), steps=5).shape
        torch.Size([5, 1, 8, 8])
    """
    check_int("steps", steps, 2)
    first, last = (_inspected(pair, end) for end in (a, b))
    labels, others = _labels(first), _labels(last)
    if labels is not None and (others is None or not torch.equal(labels, others)):
        raise DataError(f"the labels are {labels} and {others}; expected the same for both datapoints")
    latents, ends = determining_means(first), determining_means(last)
    codes = set(latents) - set(continuous_sites(first))
    if codes:
        raise PairError(f"the latents {sorted(codes)} of {type(pair).__name__} are codes; nothing lies between them")
    between = {name: _between(start, ends[name], steps, spherical) for name, start in latents.items()}
    trace = decode(pair, between, _repeated(labels, steps), steps, first.stray)
    return shown(trace, data_site(first), mean=True)


def continuous_site(inspection: Inspection, site: str | None) -> str:
    """The site of this name, or the only one, if its values are no codes.

    Raises:
        PairError: if there is none, or several and no name.
    """
    determining = determining_means(inspection)
    sites = [name for name in continuous_sites(inspection) if name in determining]
    if not sites:
        raise PairError(
            f"the latents that can be chosen, {', '.join(determining)}, are codes; expected continuous ones"
        )
    if site is None and len(sites) > 1:
        raise PairError(f"there are several latent sites; choose one as site (--site), of {', '.join(sites)}")
    if site is not None and site not in sites:
        raise PairError(f"there is no continuous latent site {site!r}; expected one of {', '.join(sites)}")
    return site or sites[0]


class _Centred(Messenger):
    """Gives these sites their means in place of samples."""

    def __init__(self, names: set[str]) -> None:
        super().__init__()
        self.names = names

    def _pyro_sample(self, msg: dict) -> None:
        if msg["name"] in self.names:
            msg["value"] = centre(msg["name"], msg["fn"])


def _inspected(pair: nn.Module, args: Args) -> Inspection:
    """A run on one datapoint; of guides that draw one site given another, the same each time."""
    device = device_of(pair)
    args = (args,) if isinstance(args, Tensor) else tuple(args)
    if not args or not all(isinstance(a, Tensor) for a in args) or any(a.dim() == 0 or len(a) != 1 for a in args):
        came = ", ".join(str(tuple(a.shape)) if isinstance(a, Tensor) else type(a).__name__ for a in args)
        raise DataError(f"got data of shape {came or 'none'}; expected one datapoint, x or x and y with one row: x[:1]")
    with isolated_rng(0):
        return inspect_pair(pair, [a.to(device) for a in args])


def _labels(inspection: Inspection) -> Tensor | None:
    return inspection.arguments[1] if len(inspection.arguments) > 1 else None


def _repeated(labels: Tensor | None, rows: int) -> Tensor | None:
    return None if labels is None else labels.expand(rows, *labels.shape[1:])


def _checked_dims(dims: Sequence[int], count: int, name: str) -> list[int]:
    try:
        found = list(dims)
    except TypeError:
        found = []
    for dim in found:
        check_int("a dimension", dim, 0)
    if not found or max(found) >= count:
        raise ArgumentError(f"dims are {dims}; expected a list of some of 0 to {count - 1}, the dimensions of {name!r}")
    return found


def _checked_values(values: Sequence[float], z: Tensor) -> Tensor:
    try:
        offsets = torch.as_tensor(values, dtype=torch.float64).to(z)  # where z's type has no such number, infinity
    except (TypeError, ValueError, RuntimeError):
        offsets = torch.empty(0)
    if offsets.dim() != 1 or not len(offsets) or not offsets.isfinite().all():
        raise ArgumentError(
            f"values are {values!r}; expected one or more finite numbers of {z.dtype}, in standard deviations"
        )
    return offsets


def _moments(prior: Distribution) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, where they are finite, or what stands for them."""
    try:
        mean, scale = prior.mean, prior.stddev
    except NotImplementedError:
        draws = draws_of(prior)
        return draws.mean(0), draws.std(0)
    finite = mean.isfinite() & scale.isfinite()
    if finite.all():
        return mean, scale
    median, spread = robust_moments(draws_of(prior))
    return torch.where(finite, mean, median), torch.where(finite, scale, spread)


def _below(pair: nn.Module, inspection: Inspection, name: str, labels: Tensor | None) -> set[str]:
    """The latents whose prior depends on this one, by way of others too."""
    unknown = f"what depends on {name!r} in {type(pair).__name__}.model is unknown"
    advice = "; expected a model on which Pyro's get_dependencies runs; use interpolate, which asks for none"
    with inspection.at_rest(0), errors_as(PairError, unknown, advice):
        parents = get_dependencies(pair.model, (None, labels), {"size": 1})["prior_dependencies"]
    below = {name}
    for child, others in parents.items():  # in the model's order, so that one pass is enough
        if below & others.keys():
            below.add(child)
    return below & set(inspection.latents) - {name}


def _between(start: Tensor, end: Tensor, steps: int, spherical: bool) -> Tensor:
    """The points (steps, …) from one vector, (1, …), to another."""
    t = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device).reshape(-1, *[1] * (start.dim() - 1))
    cosine = torch.cosine_similarity(start.flatten(), end.flatten(), dim=0).clamp(-1, 1)
    angle = cosine.acos()
    if not spherical or angle.sin() < 1e-4:
        return (1 - t) * start + t * end
    return (((1 - t) * angle).sin() * start + (t * angle).sin() * end) / angle.sin()
