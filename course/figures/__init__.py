"""The figures of single lectures, a module each; what several lectures draw is in ``course.plots``."""
