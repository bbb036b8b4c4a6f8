"""The laptop stack: a versioned bucket and an HTTP door to the same handler; never deployed."""
