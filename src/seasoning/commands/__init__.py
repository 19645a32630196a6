"""Commands: one module each; the only place that joins data, models, store and report."""
