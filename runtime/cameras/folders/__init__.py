"""Folders of pictures: tum, pairs, dataset; loaders reads their files."""
