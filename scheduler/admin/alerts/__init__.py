"""Alerts: what is open, who was told of it, and the verbs acknowledge, snooze and close."""
