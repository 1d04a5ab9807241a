"""Sections of discrete codes."""

from pyvae.cli.key_figures import learned_codes
from pyvae.cli.report_sections.trained import Section, Trained
from pyvae.latent_space.decoding import latent_means
from pyvae.pages.plots import draw_code_maps
from pyvae.pages.results import draw_code_use

__all__ = ["code_maps", "code_use"]


def code_maps(trained: Trained) -> Section | None:
    """The codes of test images, where they lie on grids."""
    codes, x = learned_codes(trained.evaluation), trained.run.original_units(trained.some[0])
    found = latent_means(trained.pair, trained.some) if codes and x.dim() == 4 else {}
    maps = {name: found[name] for name in codes if name in found and found[name].dim() == 3}
    if not maps:
        return None
    sizes = {name: codes[name].num_codes for name in maps}
    meaning = "Test data, and below them the grids of their codes: each code has a colour."
    return Section("code_maps", "Maps of the codes", meaning, draw_code_maps(x, maps, sizes))


def code_use(trained: Trained) -> Section | None:
    """How often each code occurs, and the perplexity over the epochs."""
    codes = learned_codes(trained.evaluation)
    if not codes:
        return None
    counts = {site: usage.counts for site, usage in codes.items()}
    meaning = "The frequencies of the codes on test data, the most frequent first; the line is uniform use."
    return Section("codes", "Use of the codes", meaning, draw_code_use(counts))
