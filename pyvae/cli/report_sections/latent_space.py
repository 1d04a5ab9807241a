"""Sections of latents."""

import torch

from pyvae.cli.report_sections.trained import Section, Trained
from pyvae.latent_space.decoding import latent_means, reconstruct
from pyvae.pages.live import live_map
from pyvae.pages.plots import draw_latents, draw_terms, latent_plane

__all__ = ["latents", "terms"]

_MAPPED = 600


def latents(trained: Trained) -> Section | None:
    """A map of the posterior means, with each datapoint and its reconstruction."""
    if trained.diffuses:
        return None
    args = trained.rows(_MAPPED)
    found = [m.flatten(1) for m in latent_means(trained.pair, args).values() if m.is_floating_point()]
    if not found:  # codes alone
        return None
    means, of = torch.cat(found, 1), trained.run.original_units
    classes = [] if trained.classes is None else trained.classes[: len(means)].tolist()
    points, axes = latent_plane(means)
    pictures = {"datapoint": of(args[0]), "reconstruction": of(reconstruct(trained.pair, args))}
    seen = "" if trained.run.conditional or not classes else ", coloured by class, which the model has not seen"
    meaning = (
        f"Posterior means of {len(means)} test data{seen}. Point at one to see the datapoint and its reconstruction."
    )
    live = live_map(points, axes, classes, trained.names, pictures)
    return Section("latents", "Latent space", meaning, draw_latents(means, classes, trained.names), live)


def terms(trained: Trained) -> Section | None:
    """The KL of each latent, if there are several."""
    each = {n: float(t.mean()) for n, t in trained.evaluation.elbo.kl_terms.items() if t.any()}  # none of functions
    if trained.diffuses or len(each) < 2:
        return None
    meaning = "The KL from prior to posterior of each latent; they sum to the KL. A latent at 0 carries no information."
    return Section("terms", "KL of each latent", meaning, draw_terms(each, trained.history))
