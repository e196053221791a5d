"""Pages for people: one self-contained HTML file made of a JSON document, with plots."""
