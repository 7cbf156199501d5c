"""A whole cashback world on one machine, to try Tallyback on: seeded, with partners that speak their real dialects.

The world, its truth and its servers are the independent oracle: they import neither `etl` nor `connectors`, so that a
mistake there cannot hide here. (What drives the demo through the product, of course, does.)
"""
