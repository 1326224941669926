"""Drawing on images: numpy arrays of RGB bytes, height x width x 3, changed in place."""
