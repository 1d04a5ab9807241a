"""The reports of runs, as a person reads them."""

import html
import json
import re

#: quick runs of recipes, and the sections of their reports
OPTIONS = {
    "gaussian": ["--latent-dim=3", "--hidden=[16]"],
    "conditional": ["--latent-dim=3", "--hidden=[16]"],
    "vqvae": ["--num-codes=8", "--channels=[4]"],
    "ladder": ["--latent-dims=[2,3]", "--hidden=[16]"],
    "diffusion": ["--steps=12", "--channels=[4]"],
    "incomplete": ["--latent-dim=3", "--hidden=[16]"],
    "semi_supervised": ["--latent-dim=3", "--hidden=[16]", "--labelled=100"],
}
ALWAYS = {"Samples", "Training", "Settings"}
SECTIONS = {
    "gaussian": {"Reconstructions", "Latent space"},
    "conditional": {"Reconstructions", "Latent space", "Style transfer"},
    "vqvae": {"Reconstructions", "Latent space", "Maps of the codes", "Use of the codes"},
    "ladder": {"Reconstructions", "Latent space", "KL of each latent"},
    "diffusion": {"Denoising", "Samples by number of steps", "Terms of the ELBO by t"},
    "incomplete": {"Reconstructions", "Latent space", "Imputations"},
    "semi_supervised": {"Reconstructions", "Latent space", "Style transfer", "Inferred labels", "KL of each latent"},
}


def page_of(run):
    return html.unescape((run / "report.html").read_text())


def read_of(page, kind):
    """What the parts of a kind, chart or map, answer to the pointer."""
    return [json.loads(text) for text in re.findall(f"<div class=\"{kind}\" data-read='(.*?)'>", page)]
