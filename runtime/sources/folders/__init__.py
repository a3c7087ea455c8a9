"""Folders of pictures: tum (its lists: tum_lists), pairs, rgbd, sets, reid_folder, sample.

file_frames reads their files; survey (with polarity) and declared decide and check how depth is read.
"""
