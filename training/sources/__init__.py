"""Where series come from: NAB, a CSV file of one's own, or a simulation."""
