"""The pages of leakwatch."""
