"""Video files, and recordings made by librealsense: each read in a child process.

video opens the child in which player plays the tracks; realsense_file the one of realsense_player.
"""
