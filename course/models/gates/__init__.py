"""Gates: what makes a convolutional network's map attend to channels or places, by a factor on each. One idea a file."""
