"""Recordings: recording (ours), rosbag, video, realsense_file (plays realsense_player in a child process).

pairing puts colour and depth together by time.
"""
