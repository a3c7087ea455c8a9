"""The operator measured against its alternatives: graphs, cda; and a frame on paper: paper."""
