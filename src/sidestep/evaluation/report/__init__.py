"""The report: one HTML file that shows what was measured, without reaching outside itself.

`page` says what a page is made of and writes it; `table`, `chart` and `examples` are its parts. The
other files turn measurements into sections. Nothing is measured here.
"""
