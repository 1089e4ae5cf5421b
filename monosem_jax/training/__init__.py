"""One training loop for every model: it is given an objective and knows neither language models nor dictionaries."""
