"""Cameras that are plugged in, one file per SDK: realsense, oak, orbbec, openni2; webcam through OpenCV."""
