"""ROS 1 and ROS 2 bags, read.

In reading order: open_bag (any kind), bag (what all have in common), ros2_bag, ros1_bag, ros_images (pixels of an image
message; its packing: rvl). Which topics are played: topic_samples, topic_choice.
"""
