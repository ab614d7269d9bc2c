"""What tests and bench both use: real servers, real beats and workers, and how to wait for them.

It imports neither tests nor bench.
"""
