"""A ROS 2 node around a model file. UNTESTED: it needs rclpy, which comes with ROS (apt), not from the package index.

    source /opt/ros/humble/setup.bash
    python examples/ros2_node.py --ros-args -p model:=sod-lite \
        -r rgb:=/camera/color/image_raw -r depth:=/camera/aligned_depth_to_color/image_raw

Subscribes ``rgb`` (sensor_msgs/Image, rgb8 or bgr8) and ``depth`` aligned to it (16UC1 millimetres or 32FC1 metres);
publishes ``saliency`` (32FC1, the model's size, the colour image's header), ``objects`` (std_msgs/String, JSON: box,
area and distances of each, the nearest first) and ``distance`` (std_msgs/Float32, metres of the nearest object;
nothing is published where there was no depth). A pair is used where the two stamps differ by at
most 20 ms. Only the newest pair is processed: a slow model drops frames, it never falls behind.
"""

from __future__ import annotations

import json
import sys

import numpy as np

try:
    import message_filters
    import rclpy
    from rclpy.node import Node
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image
    from std_msgs.msg import Float32, String
except ImportError as error:
    sys.exit(f"{error}: source ROS 2's setup.bash first (packages ros-…-rclpy, ros-…-message-filters)")

import mutualformer
from mutualformer.runtime.images.objects import find_objects, nearest_object_m
from mutualformer.runtime.preprocess import prepare

MOST_SKEW_S = 0.02
ENCODINGS = {"rgb8": (np.uint8, 3), "bgr8": (np.uint8, 3), "16UC1": (np.uint16, 1), "32FC1": (np.float32, 1)}


def pixels(message: Image) -> np.ndarray:
    """(H, W) or (H, W, 3) of a message, rows possibly padded. Raises ValueError for other encodings."""
    if message.encoding not in ENCODINGS:
        raise ValueError(f"encoding {message.encoding!r} is not one of {', '.join(ENCODINGS)}")
    kind, channels = ENCODINGS[message.encoding]
    dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    values = np.ascontiguousarray(rows[:, : message.width * channels * dtype.itemsize]).view(dtype)
    image = values.reshape(message.height, message.width, channels).astype(kind)
    return image[..., ::-1] if message.encoding == "bgr8" else image if channels == 3 else image[..., 0]


def metres(message: Image) -> np.ndarray:
    """(H, W) float32 metres; what was not measured is 0."""
    depth = pixels(message)
    if depth.dtype == np.uint16:
        return depth.astype(np.float32) * np.float32(0.001)
    return np.nan_to_num(depth, nan=0.0, posinf=0.0, neginf=0.0)


class SaliencyNode(Node):
    """Colour and depth in, saliency and distance out."""

    def __init__(self) -> None:
        super().__init__("mutualformer")
        self._session = mutualformer.load(self.declare_parameter("model", "sod-lite").value)
        self._saliency = self.create_publisher(Image, "saliency", qos_profile_sensor_data)
        self._objects = self.create_publisher(String, "objects", qos_profile_sensor_data)
        self._distance = self.create_publisher(Float32, "distance", qos_profile_sensor_data)
        topics = [
            message_filters.Subscriber(self, Image, name, qos_profile=qos_profile_sensor_data)
            for name in ("rgb", "depth")
        ]
        self._pairs = message_filters.ApproximateTimeSynchronizer(topics, 2, MOST_SKEW_S)
        self._pairs.registerCallback(self.pair)

    def pair(self, rgb: Image, depth: Image) -> None:
        """One colour image with its depth."""
        try:
            colour, distances = np.ascontiguousarray(pixels(rgb)), metres(depth)
        except ValueError as error:
            self.get_logger().error(str(error), once=True)
            return
        if colour.shape[:2] != distances.shape:
            text = f"colour is {colour.shape[:2]} and depth {distances.shape}: subscribe to depth aligned to colour"
            self.get_logger().error(text, once=True)
            return
        inputs = prepare(self._session.contract, colour, distances)
        saliency = np.asarray(self._session.run(**inputs)["saliency"][0], np.float32)
        height, width = saliency.shape
        answer = Image(header=rgb.header, height=height, width=width, encoding="32FC1", step=4 * width)
        answer.data = saliency.astype("<f4").tobytes()
        self._saliency.publish(answer)
        objects, _ = find_objects(saliency, distances)
        self._objects.publish(String(data=json.dumps([one.to_json() for one in objects])))
        nearest = nearest_object_m(objects)
        if nearest is not None:
            self._distance.publish(Float32(data=nearest))


def main() -> None:
    """Until Ctrl-C."""
    rclpy.init()
    node = SaliencyNode()
    try:
        rclpy.spin(node)
    except KeyboardInterrupt:
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
