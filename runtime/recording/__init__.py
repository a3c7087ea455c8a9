"""Recordings and bags: MCAP files of ROS 2 messages, written and read; ROS 1 and ROS 2 bags, read.

Written: topics, info (what a recording says about itself), frame_messages, ros_messages, mcap_file. Read: open_bag (any
kind), bag (what all have in common), mcap_reader, ros2_bag, ros1_bag, ros_images; byte_reader and decompress believe
nothing. Which topics of a bag are played: topic_samples, topic_choice.
"""
