"""The HTTPS API: thin routes, contracts, one table from errors to answers, settings."""
