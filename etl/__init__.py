"""Tallyback's stages, what they stand on, and the two ways in: the pipeline and the command line."""
