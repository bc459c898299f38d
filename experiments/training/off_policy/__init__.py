"""Off-policy estimates of what a policy would bring, from the log of another one, beside what it really brings."""
