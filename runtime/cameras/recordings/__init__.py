"""Recordings: recording (ours; its files: parts), rosbag, video, realsense_file (plays realsense_player in a child).

pairing puts colour and depth together by time.
"""
