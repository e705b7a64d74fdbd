"""Real pretrained models and real data that other packages carry: what needs no download from the Hub.

Each file reads one package with code of this project and gives plain `transformers` folders or `DemoTask`s. What is not
installed is left out with one line that names the package.
"""
