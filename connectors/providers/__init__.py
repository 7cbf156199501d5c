"""Payout rails: file formats written and read by our own small code."""
