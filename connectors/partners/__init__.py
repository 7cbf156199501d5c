"""One module per affiliate network."""
