"""The operator measured against its alternatives: graphs, cda."""
