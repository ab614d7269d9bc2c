"""The Django app `scheduler`: when a job runs, and what became of each run.

Synchronous. Owns the tables, the pages and the API. Knows nothing of `jobu_project`.
"""

# The version of jobu. The build, the API and /health read it from here.
__version__ = "0.2.0.dev0"
