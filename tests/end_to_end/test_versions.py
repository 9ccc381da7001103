"""The versions that the embedded lab emulates are those that the workshop pins."""

from __future__ import annotations

from ekslab import versions
from labkit.versions import pinned


def test_the_lab_emulates_what_the_workshop_pins() -> None:
    assert pinned() == {
        "falco": {
            "version": versions.FALCO,
            "engine": versions.FALCO_ENGINE,
            "falcoctl": versions.FALCOCTL,
            "chart": {
                "name": versions.FALCO_CHART_NAME,
                "repository": versions.FALCO_CHART_REPOSITORY,
                "version": versions.FALCO_CHART,
            },
            "plugins": {"container": versions.CONTAINER_PLUGIN},
        },
        "helm": {"version": versions.HELM},
        "fluent_bit": {"image": versions.FLUENT_BIT_IMAGE, "version": versions.FLUENT_BIT},
        "nginx": {"image": versions.NGINX_IMAGE, "version": versions.NGINX},
        "kubernetes": {"server": versions.KUBERNETES, "eks": versions.EKS},
    }
