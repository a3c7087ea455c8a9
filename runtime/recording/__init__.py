"""Recordings as MCAP files of ROS 2 messages: mcap_file, ros_messages."""
