"""Benchmarks: each prints its figure beside a floor and its peers, measured in one run on the same generated data."""
