"""A whole cashback world on one machine, to try Tallyback on: seeded, with partners that speak their real dialects.

It is also the independent oracle: nothing here imports `etl` or `connectors`, so that a mistake there cannot hide here.
"""
