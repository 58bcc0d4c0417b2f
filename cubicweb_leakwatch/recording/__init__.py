"""What is recorded of an instance's processes, what is concluded from it, and what is done about it."""
