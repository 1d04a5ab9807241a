"""Pages as a browser shows them."""

import html
import json
import re
import shutil
import subprocess

import pytest

needs_browser = pytest.mark.skipif(not shutil.which("chromium"), reason="the browser chromium is not installed")

MEASURE = """<p id="found"></p><script>
onload = () => setTimeout(() => {
  document.getElementById("found").textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(f => {
    const w = f.contentWindow, d = f.contentDocument;
    return {width: f.clientWidth, needed: d.documentElement.scrollWidth,
            images: [...d.images].map(i => i.complete && i.naturalWidth > 0), asked: ASKED};
  }));
}, 500);
</script>"""


def measured(pages, folder, asked="null"):
    """Each page at the widths of a telephone and of a desk: its own width, its images, and what is asked of it.

    ``asked`` is a JavaScript expression of the window ``w`` and the document ``d`` of the page.
    """
    frames = [
        f'<iframe width="{width}" height="900" srcdoc="{html.escape(page)}"></iframe>'
        for page in pages
        for width in (390, 1280)
    ]
    path = folder / "frames.html"
    path.write_text("".join(frames) + MEASURE.replace("ASKED", asked))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
               "--disable-sync", f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=10000",
               "--dump-dom", path.as_uri()]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    return json.loads(html.unescape(re.search(r'<p id="found">(.*?)</p>', dom).group(1)))
