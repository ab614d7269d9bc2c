"""Example handlers, which are also useful to test an installation."""
