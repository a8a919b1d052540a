"""The one reader of image files, for training, evaluation, `predict` and serving: Pillow and numpy only."""
