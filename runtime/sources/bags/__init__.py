"""Recordings of ours and of others, read.

In reading order: open_bag (any file or folder), containers (MCAP, ROS 1, SQLite), ros_images (pixels of an image
message; its packing: rvl), pairing (colour and depth by time). Played by recording (ours) and rosbag (others', in a
child process; which topics: topic_samples, topic_choice; which clock: bag_times).
"""
