"""Attacks through the broker, forms, addresses and table rows."""
