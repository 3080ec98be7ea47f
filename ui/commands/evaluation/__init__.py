"""Commands that measure: evaluate, trust, audit, compare, map, classify."""
