"""Cameras, one file per SDK: realsense, oak, orbbec, openni2; of colour alone: webcam (OpenCV), gstreamer, network (PyAV)."""
