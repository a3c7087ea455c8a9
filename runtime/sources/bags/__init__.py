"""ROS 1 and ROS 2 bags, read, and the messages in them.

In reading order: open_bag (any file or folder), containers (MCAP, ROS 1, SQLite), ros_messages, ros_images (pixels of
an image message; its packing: rvl), pairing (colour and depth by time). Played by rosbag, in a child process; which
topics: topic_samples, topic_choice; which clock: bag_times. Recordings of ours are played by runtime.recording.replay.
"""
