"""The reproduction kit: tables of papers, and of our own docs, as declarations that can be run.

`data.yaml` declares data sets, `runs.yaml` semantic IDs and trainings, `tables/*.yaml` the rows of
tables with their published numbers. A table becomes one pipeline per data set.
"""
