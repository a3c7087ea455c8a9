"""Recordings of ours: MCAP files of ROS 2 messages, written and read.

Written: topics, info (what a recording says about itself), frame_messages, mcap_file. Read: replay.
"""
