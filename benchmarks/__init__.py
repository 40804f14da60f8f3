"""What this package costs, measured. ``python -m benchmarks`` runs all of it."""
