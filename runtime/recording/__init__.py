"""This project's recordings: MCAP files of ROS 2 messages.

To write: topics, info (the recording's description), frame_messages, mcap_file. To read: replay.
"""
