"""The versions of the programs that the embedded lab emulates."""

FALCO = "0.44.1"
FALCO_ENGINE = "0.62.0"
FALCOCTL = "0.13.0"
CONTAINER_PLUGIN = "0.7.1"

FALCO_CHART = "9.1.0"
FALCO_CHART_NAME = "falcosecurity/falco"
FALCO_CHART_REPOSITORY = "https://falcosecurity.github.io/charts"
HELM = "4.2.4"

FLUENT_BIT_IMAGE = "cr.fluentbit.io/fluent/fluent-bit"
FLUENT_BIT = "5.1.1"

NGINX_IMAGE = "docker.io/library/nginx"
NGINX = "1.29.3"

KUBERNETES = "1.35.2"
EKS = "1.35"
