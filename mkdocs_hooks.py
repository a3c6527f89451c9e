"""Hooks of mkdocs: formulas become MathML while the site is built, and no page may ask another place for anything."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

FORMULA = re.compile(r'<(?P<tag>span|div) class="arithmatex">\\(?:\(|\[)(?P<tex>.*?)\\(?:\)|\])</(?P=tag)>', re.DOTALL)
FUNCTION = re.compile(r"(<mi>[a-z]{2,}</mi>)(?!</)(?!<mo[^>]*>(?:\(|&#x00028;))")  # log x and not logx
ELSEWHERE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Replace every formula that `pymdownx.arithmatex` has marked; one that is not understood ends the build."""

    def formula(found: re.Match[str]) -> str:
        tex = html.unescape(found["tex"])
        mathml = convert(tex, display="block" if found["tag"] == "div" else "inline")
        unknown = re.search(r"\\[a-zA-Z]+", mathml)
        if unknown:
            raise PluginError(f"{page.file.src_uri}: {unknown[0]} of the formula '{tex}' is not understood.")
        mathml = FUNCTION.sub(r'\1<mspace width="0.17em" />', mathml)
        focus = ' tabindex="0"' if found["tag"] == "div" else ""  # a wide one scrolls
        return f'<{found["tag"]} class="formula"{focus}>{mathml}</{found["tag"]}>'

    return FORMULA.sub(formula, content)


class Requests(HTMLParser):
    """What a page makes a browser load from elsewhere; links that a reader may follow are no such thing."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        asked = [named.get("src", ""), named.get("srcset", ""), named.get("href", "") if tag == "link" else ""]
        self.found += [url for url in asked if ELSEWHERE.match(url)]


def on_post_build(config: Any, **_: Any) -> None:
    """End the build where a page or a style sheet asks another place for something."""
    site = Path(config["site_dir"])
    for path in site.rglob("*.html"):
        page = Requests()
        page.feed(path.read_text(encoding="utf-8"))
        if page.found:
            raise PluginError(f"{path.relative_to(site)} loads {page.found[0]}: keep a copy in docs/ instead.")
    for path in site.rglob("*.css"):
        for url in re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')]+)", path.read_text(encoding="utf-8")):
            if ELSEWHERE.match(url):
                raise PluginError(f"{path.relative_to(site)} loads {url}: keep a copy in docs/ instead.")
