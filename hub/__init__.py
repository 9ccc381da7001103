"""JupyterHub for a class: on one machine (`jupyterhub_config.py`), or on Kubernetes (`values.yaml`)."""
