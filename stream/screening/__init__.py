"""The worker: ECGs from Kafka in, risks, alerts and rejections out."""
