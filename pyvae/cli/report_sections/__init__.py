"""The sections of a run's report: each a function from the trained run to a section, or None if it does not apply."""

from pyvae.cli.report_sections.classes import confusion
from pyvae.cli.report_sections.codes import code_maps, code_use
from pyvae.cli.report_sections.diffusions import denoising, diffusion_terms, numbers_of_steps
from pyvae.cli.report_sections.generated_data import imputations, reconstructions, samples, transfer
from pyvae.cli.report_sections.latent_space import latents, terms
from pyvae.cli.report_sections.trained import Section, Trained
from pyvae.cli.report_sections.training import curves

__all__ = ["SECTIONS", "Section", "Trained"]

#: in the order of the page
SECTIONS = (
    samples,
    denoising,
    numbers_of_steps,
    reconstructions,
    imputations,
    transfer,
    confusion,
    latents,
    code_maps,
    code_use,
    terms,
    diffusion_terms,
    curves,
)
