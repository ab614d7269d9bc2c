"""Each start and end of an attempt is reported to services that watch for silence.

It is derived from the rows, so the end of a killed worker's attempt is reported, too.
"""
