"""A whole cashback world on one machine, seeded, with a truth table."""
