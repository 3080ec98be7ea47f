"""Tests of a dashboard that runs, by a browser or by its own protocol."""
