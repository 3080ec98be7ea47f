"""Commands that serve: the dashboard, the HTTP service, the demonstration."""
