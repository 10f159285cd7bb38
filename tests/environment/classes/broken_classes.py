raise RuntimeError("this package\nneeds something")
