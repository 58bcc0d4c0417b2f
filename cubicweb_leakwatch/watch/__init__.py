"""From recorded samples to a conclusion, and what to do about it. Knows nothing of CubicWeb."""
