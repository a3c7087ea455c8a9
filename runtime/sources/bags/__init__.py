"""Reads ROS 1 and ROS 2 bags and the messages in them.

In reading order: open_bag (any file or folder), containers (MCAP, ROS 1, SQLite), ros_messages, ros_images (pixels of
an image message; its packing: rvl). rosbag plays a bag in a child process; topic_samples and topic_choice decide on the
topics, bag_times on the clock. runtime.recording.replay plays our own recordings.
"""
