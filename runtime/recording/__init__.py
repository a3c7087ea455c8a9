"""Recordings and bags: MCAP files of ROS 2 messages, written and read; ROS 1 and ROS 2 bags, read.

Written: topics, info (what a recording says about itself), frame_messages, ros_messages, mcap_file. Read: mcap_reader;
byte_reader and decompress believe nothing, damage says what is wrong; bags (everybody else's recordings).
"""
