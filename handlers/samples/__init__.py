"""Handlers to learn from and to test a house with."""
