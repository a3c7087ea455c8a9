"""Video files, and recordings made by librealsense: what runs in a child process (:mod:`child`) to read them.

player plays the tracks of a video; realsense_player a recording. Decoders are large native libraries that get untrusted
files, and librealsense may read a corrupt one for ever while it holds the GIL.
"""
