"""Folders of pictures: tum (its lists: tum_lists), pairs, dataset; loaders reads their files."""
