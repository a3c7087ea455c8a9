"""Recordings: recording (ours; its files: parts), rosbag (its clocks: bag_times), and in a child
process video (plays video_player) and realsense_file (plays realsense_player).

pairing puts colour and depth together by time.
"""
