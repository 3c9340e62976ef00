"""Dense prediction: a class for every pixel (SETR, U-Net, FCN, UperNet), boxes and classes for objects (DETR).

Maps are (B, D, H, W) here: all of these models convolve and resize, and both want the channels second.
"""
