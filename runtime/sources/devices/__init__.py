"""Cameras, one file per SDK: realsense, oak, orbbec, openni2; colour alone: webcam (OpenCV), gstreamer, network (PyAV)."""
