"""/metrics: text.py writes Prometheus' format, the other modules say what stands in it."""
