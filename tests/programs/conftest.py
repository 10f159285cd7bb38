from policies import model_folder

__all__ = ["model_folder"]
