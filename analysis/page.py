"""A page: a template and what it shows, as one HTML file that opens without a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from analysis.figures import script_json, viewer_script

TEMPLATES = Path(__file__).parent / "templates"


def write_page(path: Path, template: str, specs: Mapping[str, dict], **shown: Any) -> Path:
    """Render a template of `templates/` into `path`, which is whole or as it was; its path.

    specs: Vega-Lite specifications by the names that the template gives to its charts.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    html = environment.get_template(template).render(specs=script_json(specs), viewer=viewer_script(), **shown)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".html.tmp")
    unfinished.write_text(html, encoding="utf-8")
    unfinished.replace(path)
    return path
