"""The commands of ``cxr``, one module per verb or family of verbs."""
