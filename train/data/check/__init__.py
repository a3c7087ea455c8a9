"""What is wrong with a data set: findings, rgbd, reid."""
