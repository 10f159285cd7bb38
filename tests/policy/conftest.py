from policies import make_policy, model_folder

__all__ = ["make_policy", "model_folder"]
