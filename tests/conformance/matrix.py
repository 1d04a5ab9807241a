"""Every pair of components with every objective: what goes with what."""

import inspect
import warnings

import torch
from pyro.infer import Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO

from pyvae import VAE, guides, networks, objectives, priors
from pyvae.errors import PyvaeError
from tests.conformance.components import GUIDES, LEVELS_OF_GREY, LIKELIHOODS, PRIORS, over

ROWS, PIXELS, LATENTS, CLASSES = 6, 4, 2, 3

OBJECTIVES = {
    "Trace_ELBO": lambda: Trace_ELBO(max_plate_nesting=1),
    "TraceMeanField_ELBO": lambda: TraceMeanField_ELBO(max_plate_nesting=1),
    "TraceGraph_ELBO": lambda: TraceGraph_ELBO(max_plate_nesting=1),
    "WeightedELBO": lambda: objectives.WeightedELBO(beta=0.5),
    "CapacityELBO": lambda: objectives.CapacityELBO(capacity=1.0),
    "TotalCorrelationELBO": lambda: objectives.TotalCorrelationELBO(gamma=1.0, data_size=ROWS),
    "InfoVAE": lambda: objectives.InfoVAE(alpha=0.5, weight=1.0),
    "ImportanceWeightedELBO": lambda: objectives.ImportanceWeightedELBO(2),
    "MIWAE": lambda: objectives.MIWAE(2, num_bounds=2),
    "CIWAE": lambda: objectives.CIWAE(2),
    "VariationalRenyiBound": lambda: objectives.VariationalRenyiBound(0.5, 2),
    "DReG": lambda: objectives.DReG(2),
    "VIMCO": lambda: objectives.VIMCO(2),
    "ReweightedWakeSleep": lambda: objectives.ReweightedWakeSleep(2),
}

#: priors of vectors, by whether they need a context
VECTORS = {cls: "event_shape" in inspect.signature(cls).parameters for cls in PRIORS}
VECTORS = [cls for cls, of_vectors in VECTORS.items() if of_vectors]
ALL_GUIDES = [*GUIDES, guides.SemiAmortized]
ALL_LIKELIHOODS = list(LIKELIHOODS)
ON_THE_SPHERE = {priors.HypersphericalUniform, guides.PowerSpherical}
CONDITIONAL = {priors.ConditionalNormal, priors.ConditionalNormalMixture}


def fits(prior, guide):
    """Whether both are on the same space; a VampPrior is where its guide is."""
    return prior is priors.VampPrior or (prior in ON_THE_SPHERE) == (guide in ON_THE_SPHERE)


def refines(guide):
    return guide is guides.SemiAmortized


def build(prior, likelihood, guide):
    """A pair of these components, over linear maps, with a context if the prior needs one."""
    width = CLASSES if prior in CONDITIONAL else 0
    options = {"levels": LEVELS_OF_GREY} if "levels" in inspect.signature(likelihood).parameters else {}
    p_x = over(likelihood, LATENTS + width, PIXELS, **options)
    q_z = over(guides.DiagonalNormal if refines(guide) else guide, PIXELS + width, LATENTS)
    if prior is priors.VampPrior:
        p_z = prior(LATENTS, num_components=3, posterior=q_z, shape=PIXELS)
    else:
        p_z = over(prior, width, LATENTS) if width else prior(LATENTS)
    if refines(guide):
        q_z = guides.SemiAmortized(q_z, p_z, p_x, steps=2, step_size=0.01)
    return VAE(p_z, p_x, q_z, networks.OneHot(CLASSES) if width else None)


def arguments(pair):
    """Data that every likelihood takes, and labels if the pair has a context."""
    x = (torch.arange(ROWS * PIXELS).reshape(ROWS, PIXELS) % 3 == 0).to(next(pair.parameters()).dtype)
    return (x, torch.arange(ROWS) % CLASSES) if pair.context is not None else (x,)


def outcome(pair, objective):
    """ "trains", or the error that says why not.

    Raises:
        AssertionError: if it does neither: the loss or a gradient is not finite, or a parameter has none.
    """
    pair.zero_grad(set_to_none=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loss = OBJECTIVES[objective]().loss_and_grads(pair.model, pair.guide, *arguments(pair))
    except PyvaeError as error:
        return str(error)
    assert abs(loss) < 1e6
    for name, parameter in pair.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    for part in (pair.prior, pair.likelihood, pair.posterior):
        gradients = [p.grad.abs().sum() for p in part.parameters()]
        assert not gradients or sum(gradients) > 0, type(part).__name__
    return "trains"
