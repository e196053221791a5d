"""The whole story: inputs, then build (`build.py`); shipping what was built is `edgeship.deploy`."""
