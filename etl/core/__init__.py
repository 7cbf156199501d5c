"""Nouns: what every stage stands on."""
