from engine import base_image, browsergym_image, client, training_image

__all__ = ["base_image", "browsergym_image", "client", "training_image"]
