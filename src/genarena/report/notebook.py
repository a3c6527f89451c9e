"""What a notebook shows of a finished comparison: verdicts, and a strip of everybody's samples beside real ones."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from genarena.report.pictures import embed_picture

_STRIP = 160  # pixels a picture is high


def notebook_html(record: Mapping[str, Any], folder: Path) -> str:
    """A fragment of HTML without script or request, of what ``comparison.json`` holds."""
    rows = "".join(
        f"<tr><td>{escape(use['title'])}</td><td><b>{escape(use['winner'] or use['verdict'])}</b></td>"
        f"<td style='text-align:left'>{escape(use['reason'])}</td></tr>"
        for use in record["uses"]
    )
    pictures = record["pictures"]
    named = {"real": pictures.get("real"), **pictures.get("samples", {})}
    strip = "".join(_figure(name, folder, path) for name, path in named.items() if path)
    head = "<tr><th>use</th><th>verdict</th><th style='text-align:left'>why</th></tr>"
    report = f"<p>Report: <code>{escape(str(folder / 'report.html'))}</code></p>"
    return f"<table>{head}{rows}</table><div style='display:flex;flex-wrap:wrap;gap:8px'>{strip}</div>{report}"


def _figure(name: str, folder: Path, path: str) -> str:
    picture = embed_picture(folder, path)
    if picture.problem:
        return ""
    style = f"height:{_STRIP}px" + (";image-rendering:pixelated" if picture.pixelated else "")
    text = escape(name, quote=True)
    return (
        f"<figure style='margin:0'><img src='{picture.uri}' alt='{text}' style='{style}'>"
        f"<figcaption>{text}</figcaption></figure>"
    )
