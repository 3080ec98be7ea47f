"""Parts of the dashboard that its pages share."""
