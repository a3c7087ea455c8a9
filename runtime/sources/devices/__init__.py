"""Cameras, one file per SDK: realsense, oak, orbbec, openni2; colour only: webcam, gstreamer, network (PyAV)."""
