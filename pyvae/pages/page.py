"""HTML pages that need nothing else: their pictures are in them."""

import base64

from jinja2 import Environment, PackageLoader, select_autoescape

__all__ = ["embedded", "render"]


def embedded(title: str, meaning: str, png: bytes, wide: bool = False) -> dict[str, object]:
    """A picture as the templates take it: with its title, and a sentence on how to read it."""
    return {"title": title, "meaning": meaning, "base64": base64.b64encode(png).decode(), "wide": wide}


def render(template: str, **content: object) -> str:
    """The page that a template of this folder makes of some content."""
    environment = Environment(loader=PackageLoader("pyvae.pages", "."), autoescape=select_autoescape(default=True))
    return environment.get_template(f"{template}.html.jinja").render(**content)
