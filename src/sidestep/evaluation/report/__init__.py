"""The report: one HTML file that shows measurements and needs no other file.

`page` defines a page and writes it; `table`, `chart` and `examples` are the parts of a page. The
other files turn measurements into sections. Nothing is measured here.
"""
