"""What figures, report and export are made of. Their front doors are the modules of those names."""
