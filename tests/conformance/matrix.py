"""The compatibility of every pair of components with every objective."""

import inspect
import warnings
from functools import partial

import torch
from pyro.infer import Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO

from pyvae import VAE, guides, likelihoods, networks, objectives, priors, quantizers, recipes
from pyvae.errors import PyvaeError
from pyvae.training.fit import fit
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


def chain_of(recipe):
    return recipe((PIXELS,), latent_dims=[2, 2], hidden=[4])


#: pairs of other families, as recipes make them
FAMILIES = {
    "VAE of data with gaps": lambda: recipes.incomplete((PIXELS,), latent_dim=2, hidden=[4]),
    "MarkovVAE": lambda: chain_of(recipes.hierarchical),
    "LadderVAE": lambda: chain_of(recipes.ladder),
    "DiffusionVAE": lambda: recipes.diffusion((PIXELS,), steps=3, channels=[8]),
    "VQVAE": lambda: recipes.vqvae((PIXELS,), num_codes=4, dim=2, channels=[4, 4]),
    "VQVAE, codes drawn": lambda: recipes.vqvae(
        (PIXELS,), channels=[4, 4], quantizer=quantizers.SoftmaxQuantizer(num_codes=4, dim=2)
    ),
    "VQVAE2": lambda: recipes.vqvae2((1, 4, 4), num_codes=4, dim=2, channels=[4, 4]),
    "SemiSupervisedVAE": lambda: recipes.semi_supervised((PIXELS,), CLASSES, latent_dim=2, hidden=[4]),
}


def fitted(family, objective):
    """ "trains", or the error with which ``fit`` refuses a pair of a family."""
    torch.manual_seed(0)
    pair, shape = FAMILIES[family](), (1, 4, 4) if family == "VQVAE2" else (PIXELS,)
    x = (torch.arange(ROWS * torch.Size(shape).numel()).reshape(ROWS, *shape) % 3 == 0).float()
    labels = [torch.arange(ROWS) % (CLASSES + 1) - 1] if family == "SemiSupervisedVAE" else []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit(pair, (x, *labels), objective=OBJECTIVES[objective](), epochs=1, seed=0, progress=False, compile=False)
    except PyvaeError as error:
        return str(error)
    return "trains"


def page(of_guides=ALL_GUIDES, families=FAMILIES):
    """The compatibility, as a page of the documentation."""
    rows = {f"VAE, {guide.__name__}": partial(_of_guide, guide) for guide in of_guides}
    rows |= {family: partial(fitted, family) for family in families}
    notes, lines = {}, []
    for name, result in rows.items():
        cells = []
        for objective in OBJECTIVES:
            found = result(objective)
            if found == "trains":
                cells.append("✓")
            else:
                reason = found.split(" in epoch ")[0].replace("|", "∣")
                cells.append(f"[{notes.setdefault(reason, len(notes) + 1)}](#notes)")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    head = "| pair | " + " | ".join(f"`{o}`" for o in OBJECTIVES) + " |"
    rule = "| --- |" + " :-: |" * len(OBJECTIVES)
    told = [f"{number}. {reason}" for reason, number in notes.items()]
    return "\n".join([_INTRODUCTION, head, rule, *lines, "\n## Notes\n", *told, ""])


def _of_guide(guide, objective):
    prior = priors.HypersphericalUniform if guide in ON_THE_SPHERE else priors.StandardNormal
    torch.manual_seed(0)
    return outcome(build(prior, likelihoods.Normal, guide), objective)


_INTRODUCTION = """# Compatibility

Every prior and every likelihood go with every guide and objective (directions on a sphere with each other alone). What
matters to an objective is the guide, and the family of the pair. This table is made by the tests, which train each
combination: ✓ means that it trains, with a gradient for every parameter; a number, that it is refused, with the error
below.
"""


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
