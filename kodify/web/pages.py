"""Pages made of templates, in the reader's language and colours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kodify.web import assets, texts
from kodify.web.assets import Asset

HERE = Path(__file__).parent
THEMES = ("light", "dark")
BASE = "base"  # the modules and texts that every page has


@dataclass(frozen=True, slots=True)
class Reader:
    """Who looks at a page, as far as it matters to the page. No theme: the system's."""

    language: str
    theme: str | None = None


class Pages:
    def __init__(self, kodify_version: str) -> None:
        self._kodify_version = kodify_version
        self._texts = texts.read(HERE / "texts")
        self._assets = assets.read({"": HERE / "static", "texts/": HERE / "texts"})
        self.version = assets.version(self._assets)
        self._made: dict[tuple[str, Reader], Asset] = {}
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def asset(self, name: str) -> Asset | None:
        return self._assets.get(name)

    def address(self, name: str) -> str:
        """Where a browser finds the file. Raises KeyError where there is none."""
        self._assets[name]
        return f"/static/{self.version}/{name}"

    def page(self, name: str, reader: Reader) -> Asset:
        """Nothing of a user is in it, so it is made once for all who read it so."""
        if (name, reader) not in self._made:
            body = self._render(name, reader).encode()
            self._made[name, reader] = assets.asset(body, "text/html; charset=utf-8")
        return self._made[name, reader]

    def _render(self, name: str, reader: Reader) -> str:
        """The template, with the texts and modules that are called after the page and the common ones."""
        own = self._texts[reader.language]
        return self._templates.get_template(f"{name}.html").render(
            t=own.__getitem__,
            texts=texts.part(own, (BASE, name)),
            asset=self.address,
            modules=[self.address(each) for each in self._modules(name)],
            reader=reader,
            kodify_version=self._kodify_version,
        )

    def _modules(self, name: str) -> list[str]:
        """What the page's script imports, told at once: a browser would find each only inside the one before."""
        return [each for each in self._assets if each.endswith(".js") and each.partition("/")[0] in (BASE, name)]
