"""HTML pages taken apart."""

from __future__ import annotations

from html.parser import HTMLParser

_VOID = {"meta"}


class Tags(HTMLParser):
    """Every element must be closed by its own name; `found` are all with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found, self._open = [], []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
