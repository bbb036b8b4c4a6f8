"""The HTTPS API: routes, contracts of requests and responses, errors, settings."""
