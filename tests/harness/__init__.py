"""Code that tests and bench share: real servers, real beats and workers, and waiting for them.

It imports nothing from bench, and nothing else from tests.
"""
