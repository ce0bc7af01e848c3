"""The pages that Kodify serves to browsers: templates, static files, and texts in each language."""

from kodify.web.assets import Asset
from kodify.web.pages import Pages, Reader
from kodify.web.texts import LANGUAGES, choose_language

__all__ = ["LANGUAGES", "Asset", "Pages", "Reader", "choose_language"]
