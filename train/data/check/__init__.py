"""What is wrong with a data set: findings, telling, rgbd, reid."""
