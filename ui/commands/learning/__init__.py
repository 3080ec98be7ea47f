"""Commands of encoders: the list of them, training, adaptation."""
